// Command bench-peer is the push server that `bidseal-bench relay` measures the
// relay against: github.com/centrifugal/centrifuge, the library behind
// Centrifugo, in a process of its own under the same orders as the relay.
//
// It is a module of its own, so that nothing of it gets into the relay's.
//
//	go build -o ../../bin/bench-peer . && bidseal-bench relay --peer bin/bench-peer
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/bidseal/bidseal/internal/bench"
	"github.com/centrifugal/centrifuge"
	"golang.org/x/sync/errgroup"
)

// queueCap is the tuned configuration's initial capacity of a client's queue.
const queueCap = 1

func main() {
	tuned := flag.Bool("tuned", false, "small buffers and commands off the read loop, as the library's documentation advises for many idle connections")
	ping := flag.Duration("ping", 25*time.Second, "ping interval")
	redis := flag.String("redis", "", "address of a Redis that carries publications between nodes")
	flag.Parse()
	if err := run(*tuned, *ping, *redis); err != nil {
		fmt.Fprintln(os.Stderr, "bench-peer:", err)
		os.Exit(1)
	}
}

type peer struct {
	node   *centrifuge.Node
	addr   string
	redis  bool
	common bench.Common
}

func run(tuned bool, ping time.Duration, redis string) error {
	if _, err := bench.RaiseFiles(); err != nil {
		return err
	}
	node, err := newNode(tuned, redis)
	if err != nil {
		return err
	}
	pings := centrifuge.PingPongConfig{PingInterval: ping, PongTimeout: min(ping/2, 10*time.Second)}
	config := centrifuge.WebsocketConfig{PingPongConfig: pings}
	if tuned {
		config.ReadBufferSize = 256
		config.UseWriteBufferPool = true
		config.ProcessCommandsOffReadLoop = true
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: anonymous(centrifuge.NewWebsocketHandler(node, config)), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	p := &peer{node: node, addr: listener.Addr().String(), redis: redis != ""}
	err = bench.Serve(os.Stdin, os.Stdout, p.do, bench.Failed)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(err, server.Close(), p.common.End(), node.Shutdown(ctx))
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// anonymous lets everybody in, as the library's own example does.
func anonymous(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(centrifuge.SetCredentials(r.Context(), &centrifuge.Credentials{})))
	})
}

func newNode(tuned bool, redis string) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		var reply centrifuge.ConnectReply
		if tuned {
			reply.QueueInitialCap = queueCap
			reply.ReplyWithoutQueue = true
		}
		return reply, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
	})
	if redis != "" {
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: redis})
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		node.SetBroker(broker)
	}
	if err := node.Run(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return node, nil
}

func (p *peer) do(o bench.Order) (bench.Answer, error) {
	if a, known, err := p.common.Do(o); known {
		return a, err
	}
	switch o.Do {
	case "start":
		return bench.Answer{Addr: p.addr}, nil
	case "publish":
		return p.publish(o)
	}
	return bench.Answer{}, fmt.Errorf("no such order: %q", o.Do)
}

// publish answers where triggers are taken; o.Data is the state of a waiting page
// but for its number.
func (p *peer) publish(o bench.Order) (bench.Answer, error) {
	channels := make([]string, o.Topics)
	for i := range channels {
		channels[i] = "c" + strconv.Itoa(i)
	}
	one := func(i int) error {
		data := make([]byte, 0, len(o.Data)+32)
		data = append(strconv.AppendInt(append(data, `{"rev":`...), int64(i), 10), o.Data...)
		_, err := p.node.Publish(channels[i%o.Topics], data)
		return err
	}
	if !p.redis {
		addr, err := bench.Triggers(one, func() error { return nil })
		return bench.Answer{Addr: addr}, err
	}
	var calls errgroup.Group
	addr, err := bench.Triggers(func(i int) error {
		calls.Go(func() error { return one(i) }) // waits for Redis
		return nil
	}, calls.Wait)
	return bench.Answer{Addr: addr}, err
}
