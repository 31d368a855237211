package benchcmd

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// plotMemory draws memory at rest against connections as an SVG document: plain
// shapes and text, legible on light and dark pages.
func plotMemory(lines []benchLine) string {
	const width, height, left, top, right, bottom = 760, 420, 64, 24, 170, 48
	var maxX, maxY float64
	for _, l := range lines {
		for _, p := range l.Points {
			maxX, maxY = max(maxX, float64(p.Connections)), max(maxY, float64(p.AtRest)/(1<<20))
		}
	}
	stepX, stepY := plotStep(maxX), plotStep(maxY)
	endX, endY := max(maxX, 1), max(math.Ceil(maxY/stepY)*stepY, stepY)
	x := func(v float64) float64 { return left + v/endX*(width-left-right) }
	y := func(v float64) float64 { return height - bottom - v/endY*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	for v := 0.0; v <= endY; v += stepY {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", left, y(v), width-right, left-8, y(v)+4, v)
	}
	for v := 0.0; v <= endX; v += stepX {
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", x(v), top, height-bottom, x(v), height-bottom+18, v)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">waiting connections</text>`+"\n", (left+width-right)/2, height-10)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">resident memory at rest, MiB</text>`+"\n", (top+height-bottom)/2)
	colours := []string{"#0b6e4f", "#c1121f", "#3a5a9b"}
	for i, l := range lines {
		colour := colours[i%len(colours)]
		points := []string{fmt.Sprintf("%.1f,%.1f", x(0), y(0))}
		var last benchPoint
		for _, p := range l.Points {
			last = p
			mib := float64(p.AtRest) / (1 << 20)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(float64(p.Connections)), y(mib)))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(float64(p.Connections)), y(mib), colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", width-right+8, y(float64(last.AtRest)/(1<<20))+4, colour, html.EscapeString(l.System))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// plotStep is 1, 2 or 5 times a power of ten, for five to ten lines of a grid.
func plotStep(end float64) float64 {
	if end <= 0 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(end)))
	switch share := end / base; {
	case share <= 2:
		return base / 5
	case share <= 5:
		return base / 2
	}
	return base
}
