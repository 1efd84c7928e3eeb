// A service with Datadog's tracer and its runtime metrics, which finds where to send them through /info.
package main

import (
	"time"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
)

func main() {
	if err := tracer.Start(tracer.WithService("shop"), tracer.WithEnv("test"), tracer.WithRuntimeMetrics()); err != nil {
		panic(err)
	}
	defer tracer.Stop()
	kept := make([][]byte, 0, 64)
	for until := time.Now().Add(13 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		kept = append(kept, make([]byte, 1<<16))
		if len(kept) == cap(kept) {
			kept = kept[:0]
		}
	}
}
