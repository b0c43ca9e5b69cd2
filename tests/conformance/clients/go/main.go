// A client of NSQ made of go-nsq, as other people's programs are. Its order is one JSON object on stdin, and
// what happens is one JSON object a line on stdout: tests/conformance/clients/programs.py describes both.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/nsqio/go-nsq"
)

type publish struct {
	Topic   string   `json:"topic"`
	Bodies  []string `json:"bodies"`
	DeferMs int      `json:"defer_ms"`
}

type order struct {
	Do           string    `json:"do"`
	Address      string    `json:"address"`
	ClientID     string    `json:"client_id"`
	Compression  string    `json:"compression"`
	Publishes    []publish `json:"publishes"`
	Topic        string    `json:"topic"`
	Channel      string    `json:"channel"`
	MaxInFlight  int       `json:"max_in_flight"`
	Then         string    `json:"then"`
	DelayMs      int       `json:"delay_ms"`
	HoldMs       int       `json:"hold_ms"`
	BackoffS     int       `json:"backoff_s"`
	MsgTimeoutMs int       `json:"msg_timeout_ms"`
	AttemptsMax  int       `json:"attempts_max"`
}

var printing sync.Mutex

func say(event map[string]any) {
	line, err := json.Marshal(event)
	if err != nil {
		log.Fatal(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func main() {
	var wanted order
	if err := json.NewDecoder(os.Stdin).Decode(&wanted); err != nil {
		log.Fatal(err)
	}
	config := nsq.NewConfig()
	config.ClientID = wanted.ClientID
	config.Snappy = wanted.Compression == "snappy"
	config.Deflate = wanted.Compression == "deflate"
	if wanted.Do == "publish" {
		publishAll(wanted, config)
	} else {
		read(wanted, config)
	}
}

func publishAll(wanted order, config *nsq.Config) {
	producer, err := nsq.NewProducer(wanted.Address, config)
	if err != nil {
		log.Fatal(err)
	}
	for _, each := range wanted.Publishes {
		bodies := make([][]byte, len(each.Bodies))
		for i, body := range each.Bodies {
			bodies[i] = []byte(body)
		}
		switch {
		case each.DeferMs > 0:
			err = producer.DeferredPublish(each.Topic, time.Duration(each.DeferMs)*time.Millisecond, bodies[0])
		case len(bodies) == 1:
			err = producer.Publish(each.Topic, bodies[0])
		default:
			err = producer.MultiPublish(each.Topic, bodies)
		}
		if err != nil {
			say(map[string]any{"error": err.Error()})
		} else {
			say(map[string]any{"published": len(bodies)})
		}
	}
	producer.Stop()
	say(map[string]any{"stopped": true})
}

type handler struct {
	wanted order
	late   chan *nsq.Message
	// Closed once CLS is sent.
	stopping chan bool
}

func (h handler) LogFailedMessage(message *nsq.Message) {
	say(map[string]any{"given_up": string(message.Body)})
}

func (h handler) HandleMessage(message *nsq.Message) error {
	say(map[string]any{
		"body":     string(message.Body),
		"id":       string(message.ID[:]),
		"stamp_ns": message.Timestamp,
		"attempts": message.Attempts,
		"at_ms":    time.Now().UnixMilli(),
	})
	message.DisableAutoResponse()
	hold := time.Duration(h.wanted.HoldMs) * time.Millisecond
	switch {
	case h.wanted.Then == "requeue", h.wanted.Then == "requeue once" && message.Attempts == 1:
		message.Requeue(time.Duration(h.wanted.DelayMs) * time.Millisecond)
	case h.wanted.Then == "touch":
		for i := 0; i < 8; i++ {
			time.Sleep(hold / 8)
			message.Touch()
		}
		message.Finish()
	case h.wanted.Then == "hold":
		<-h.stopping
		message.Finish()
	case h.wanted.Then == "answer late" && message.Attempts == 1:
		h.late <- message
	case h.wanted.Then == "answer late" && message.Attempts == 2:
		message.Finish()
		(<-h.late).Finish()
	default:
		message.Finish()
	}
	return nil
}

func read(wanted order, config *nsq.Config) {
	config.MaxInFlight = wanted.MaxInFlight
	config.MaxAttempts = uint16(wanted.AttemptsMax)
	config.MsgTimeout = time.Duration(wanted.MsgTimeoutMs) * time.Millisecond
	config.BackoffMultiplier = time.Duration(wanted.BackoffS) * time.Second / 10
	config.MaxBackoffDuration = time.Duration(wanted.BackoffS) * time.Second
	config.LookupdPollInterval = time.Second // after which it connects again
	consumer, err := nsq.NewConsumer(wanted.Topic, wanted.Channel, config)
	if err != nil {
		log.Fatal(err)
	}
	stopping := make(chan bool)
	consumer.AddConcurrentHandlers(handler{wanted, make(chan *nsq.Message, 1), stopping}, wanted.MaxInFlight)
	if err := consumer.ConnectToNSQD(wanted.Address); err != nil {
		log.Fatal(err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	consumer.Stop() // sends CLS
	close(stopping)
	<-consumer.StopChan // its handlers have answered
	say(map[string]any{"stopped": true})
}
