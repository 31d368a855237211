package onboard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/onboard"
)

// The way of a platform to its first challenge. Between Request and Fetch the authority's operator approves.
func Example() {
	ctx := context.Background()
	folder := onboard.Folder{Dir: "platform"}
	application, err := folder.Request(ctx, "https://ca.example.cn", caapi.PlatformRequest{
		Name: "示例交易平台", Organisation: "示例交易中心", Contact: "ops@example.cn", Origins: []string{"https://bid.example.cn"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("to be approved:", application.ID)

	_, err = folder.Fetch(ctx, onboard.FetchOptions{Relay: "https://relay.example.cn", App: "https://app.example.cn", TrustFile: "trust.json"})
	if protocol.CodeOf(err) == protocol.CodeRequestPending {
		return // ask again later
	}
	if err != nil {
		log.Fatal(err)
	}
	config, err := bidseal.LoadConfig("platform")
	if err != nil {
		log.Fatal(err)
	}
	client, err := bidseal.New(config)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(client.Run(ctx))
}
