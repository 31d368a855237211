package demoplatform

import "strings"

// device says in two words which browser a request came from. It is what a person recognises, and no fingerprint: the
// header's own text is not kept.
func device(userAgent string) string {
	name := first(userAgent, [][2]string{
		{"MicroMessenger", "WeChat"}, {"Edg/", "Edge"}, {"HuaweiBrowser", "Huawei Browser"}, {"OPR/", "Opera"},
		{"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
	})
	system := first(userAgent, [][2]string{
		{"HarmonyOS", "HarmonyOS"}, {"OpenHarmony", "HarmonyOS"}, {"Android", "Android"}, {"iPhone", "iOS"}, {"iPad", "iPadOS"},
		{"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	})
	return strings.Trim(name+" / "+system, " /")
}

// first returns the name beside the first mark that occurs in the text.
func first(text string, marks [][2]string) string {
	for _, mark := range marks {
		if strings.Contains(text, mark[0]) {
			return mark[1]
		}
	}
	return ""
}
