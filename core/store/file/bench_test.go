package file

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// BenchmarkPut writes one mapping at a time into files of two sizes, alone and with 64 writers at once. CPU is the whole
// process's; disk is what it waits for.
func BenchmarkPut(b *testing.B) {
	for _, lines := range []int{20_000, 1_000_000} {
		for _, writers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%d lines/%d writers", lines, writers), func(b *testing.B) {
				s := large(b, lines)
				if err := s.Put(ctx, "first", "b0"); err != nil { // it reads the file, which has just been written, once more
					b.Fatal(err)
				}
				var wg sync.WaitGroup
				jobs := make(chan int)
				before := cpuMillis()
				b.ResetTimer()
				for range writers {
					wg.Go(func() { // ends with jobs
						for i := range jobs {
							if err := s.Put(ctx, fmt.Sprintf("user%09d@mail.example.org", i*7919%lines), fmt.Sprintf("b%d", i)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for i := range b.N {
					jobs <- i
				}
				close(jobs)
				wg.Wait()
				b.ReportMetric((cpuMillis()-before)/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// large opens a file of so many lines.
func large(b *testing.B, lines int) *Store {
	path := filepath.Join(b.TempDir(), "mappings.tsv")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range lines {
		fmt.Fprintf(w, "user%09d@mail.example.org\tb0\n", i)
	}
	if w.Flush() != nil || f.Close() != nil {
		b.Fatal("writing the file")
	}
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func cpuMillis() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
