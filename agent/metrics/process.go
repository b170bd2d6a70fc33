package metrics

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// memory are the metrics of Go's memory, under the names that Prometheus' Go client gave them, by which dashboards find
// them.
var memory = []struct {
	Metric
	of func(m *runtime.MemStats) uint64
}{
	{Metric{"go_memstats_alloc_bytes", "gauge", nil, "Allocated heap objects."}, func(m *runtime.MemStats) uint64 { return m.Alloc }},
	{Metric{"go_memstats_alloc_bytes_total", "counter", nil, "Bytes allocated for heap objects since the start."}, func(m *runtime.MemStats) uint64 { return m.TotalAlloc }},
	{Metric{"go_memstats_sys_bytes", "gauge", nil, "Memory obtained from the system."}, func(m *runtime.MemStats) uint64 { return m.Sys }},
	{Metric{"go_memstats_mallocs_total", "counter", nil, "Heap objects allocated since the start."}, func(m *runtime.MemStats) uint64 { return m.Mallocs }},
	{Metric{"go_memstats_frees_total", "counter", nil, "Heap objects freed since the start."}, func(m *runtime.MemStats) uint64 { return m.Frees }},
	{Metric{"go_memstats_heap_alloc_bytes", "gauge", nil, "Allocated heap objects."}, func(m *runtime.MemStats) uint64 { return m.HeapAlloc }},
	{Metric{"go_memstats_heap_sys_bytes", "gauge", nil, "Heap memory obtained from the system."}, func(m *runtime.MemStats) uint64 { return m.HeapSys }},
	{Metric{"go_memstats_heap_idle_bytes", "gauge", nil, "Heap memory without objects."}, func(m *runtime.MemStats) uint64 { return m.HeapIdle }},
	{Metric{"go_memstats_heap_inuse_bytes", "gauge", nil, "Heap memory with objects."}, func(m *runtime.MemStats) uint64 { return m.HeapInuse }},
	{Metric{"go_memstats_heap_released_bytes", "gauge", nil, "Heap memory given back to the system."}, func(m *runtime.MemStats) uint64 { return m.HeapReleased }},
	{Metric{"go_memstats_heap_objects", "gauge", nil, "Heap objects."}, func(m *runtime.MemStats) uint64 { return m.HeapObjects }},
	{Metric{"go_memstats_stack_inuse_bytes", "gauge", nil, "Memory of stacks."}, func(m *runtime.MemStats) uint64 { return m.StackInuse }},
	{Metric{"go_memstats_stack_sys_bytes", "gauge", nil, "Memory of stacks obtained from the system."}, func(m *runtime.MemStats) uint64 { return m.StackSys }},
	{Metric{"go_memstats_gc_sys_bytes", "gauge", nil, "Memory of the garbage collector itself."}, func(m *runtime.MemStats) uint64 { return m.GCSys }},
	{Metric{"go_memstats_other_sys_bytes", "gauge", nil, "Other memory of Go's runtime."}, func(m *runtime.MemStats) uint64 { return m.OtherSys }},
	{Metric{"go_memstats_next_gc_bytes", "gauge", nil, "Size of the heap at which the next garbage collection begins."}, func(m *runtime.MemStats) uint64 { return m.NextGC }},
}

// usual lists what a scrape says of the process, beside Table: what dashboards of any Go program show.
var usual = append([]Metric{
	{"go_info", "gauge", []string{"version"}, "Always 1. The label is the version of Go."},
	{"go_goroutines", "gauge", nil, "Goroutines."},
	{"go_threads", "gauge", nil, "Threads that were created."},
	{"go_gc_duration_seconds", "summary", nil, "Pauses of the garbage collector."},
	{"process_cpu_seconds_total", "counter", nil, "Processor time used, of the program and of the kernel for it."},
	{"process_open_fds", "gauge", nil, "Open file descriptors."},
	{"process_max_fds", "gauge", nil, "Limit of open file descriptors."},
	{"process_resident_memory_bytes", "gauge", nil, "Memory of the process in RAM, with pages of its files."},
	{"process_virtual_memory_bytes", "gauge", nil, "Address space of the process."},
	{"process_start_time_seconds", "gauge", nil, "Start of the process, as a Unix time."},
}, memoryMetrics()...)

func memoryMetrics() (list []Metric) {
	for _, m := range memory {
		list = append(list, m.Metric)
	}
	return list
}

var started = time.Now()

// process says of this process what every Go program says. What the system does not tell is left out.
func process(p page) {
	p.add("go_info", 1, runtime.Version())
	p.add("go_goroutines", float64(runtime.NumGoroutine()))
	threads, _ := runtime.ThreadCreateProfile(nil)
	p.add("go_threads", float64(threads))
	p.add("process_start_time_seconds", float64(started.UnixMilli())/1000)
	pauses(p)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	for _, m := range memory {
		p.add(m.Name, float64(m.of(&stats)))
	}
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil {
		p.add("process_cpu_seconds_total", time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds())
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		p.add("process_max_fds", float64(limit.Cur))
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.add("process_open_fds", float64(len(open)-1)) // without the one that reads the folder
	}
	if pages, err := os.ReadFile("/proc/self/statm"); err == nil {
		for i, name := range []string{"process_virtual_memory_bytes", "process_resident_memory_bytes"} {
			if n, err := strconv.ParseUint(string(bytes.Fields(pages)[i]), 10, 64); err == nil {
				p.add(name, float64(n)*float64(os.Getpagesize()))
			}
		}
	}
}

func pauses(p page) {
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	m := described("go_gc_duration_seconds")
	for i, quantile := range []string{"0", "0.25", "0.5", "0.75", "1"} {
		p.addPart(m, "", []string{"quantile"}, []string{quantile}, stats.PauseQuantiles[i].Seconds())
	}
	p.addPart(m, "_sum", nil, nil, stats.PauseTotal.Seconds())
	p.addPart(m, "_count", nil, nil, float64(stats.NumGC))
}
