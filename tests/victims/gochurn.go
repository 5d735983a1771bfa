// A Go program: its heap is the runtime's own, so no malloc probe ever sees it grow.
//
// usage: gochurn [SECONDS]   -> ready PID, then grows by about 20 MB/s until killed or the time is over.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

var kept [][]byte

func grow() {
	block := make([]byte, 200<<10)
	for i := range block {
		block[i] = byte(i)
	}
	kept = append(kept, block)
}

func main() {
	seconds := 600
	if len(os.Args) > 1 {
		seconds, _ = strconv.Atoi(os.Args[1])
	}
	fmt.Println("ready", os.Getpid())
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for time.Now().Before(end) {
		// A bounded heap: what matters is that it grows by more than malloc explains.
		if len(kept) < 2000 {
			grow()
		}
		time.Sleep(10 * time.Millisecond)
	}
}
