// Command server is what the containers of package launch's tests run.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	die := flag.Bool("die", false, "exit with 3 at once")
	never := flag.Bool("never", false, "answer 503 for good")
	stubborn := flag.Bool("stubborn", false, "do not end at SIGTERM")
	flag.Parse()
	fmt.Printf("loading as %d, token %s, colour %s\n", os.Getuid(), os.Getenv("TOKEN"), os.Getenv("COLOUR"))
	if text, err := os.ReadFile("/given/file"); err == nil {
		fmt.Printf("given: %s; writing there: %v\n", text, os.WriteFile("/given/file", nil, 0o600))
	}
	if *die {
		fmt.Fprintln(os.Stderr, "cannot load the model")
		os.Exit(3)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		for range signals {
			if !*stubborn {
				fmt.Println("told to end")
				os.Exit(0)
			}
		}
	}()
	begin := time.Now()
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if *never || time.Since(begin) < 100*time.Millisecond {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Println("crashing")
		os.Exit(7)
	})
	http.HandleFunc("/limits", func(w http.ResponseWriter, _ *http.Request) {
		var limit syscall.Rlimit
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
		var shm syscall.Statfs_t
		syscall.Statfs("/dev/shm", &shm)
		fmt.Fprintf(w, "%d %d", limit.Cur, shm.Blocks*uint64(shm.Bsize))
	})
	panic(http.ListenAndServe(":8000", nil))
}
