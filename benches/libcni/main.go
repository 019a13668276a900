// Runs ADD and DEL of a conflist on libcni, for the bench to compare with.
//
// usage: libcni CONFLIST PLUGINS CACHE
//
// For each number N on a line of standard input it does N pairs of ADD and DEL, and answers
// with N durations in nanoseconds on one line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(conflist, plugins, cache string) error {
	list, err := libcni.ConfListFromFile(conflist)
	if err != nil {
		return err
	}
	engine := libcni.NewCNIConfigWithCacheDir([]string{plugins}, cache, nil)
	container := &libcni.RuntimeConf{
		ContainerID: "bench-libcni",
		NetNS:       "/run/netns/bench",
		IfName:      "eth0",
		Args:        [][2]string{{"IgnoreUnknown", "1"}},
		CapabilityArgs: map[string]interface{}{
			"portMappings": []map[string]interface{}{
				{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
			},
		},
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		pairs, err := strconv.Atoi(orders.Text())
		if err != nil {
			return err
		}
		for ; pairs > 0; pairs-- {
			begin := time.Now()
			if _, err := engine.AddNetworkList(context.Background(), list, container); err != nil {
				return err
			}
			if err := engine.DelNetworkList(context.Background(), list, container); err != nil {
				return err
			}
			fmt.Print(time.Since(begin).Nanoseconds(), " ")
		}
		fmt.Println()
	}
	return orders.Err()
}
