//! The options of networks and endpoints, which several help texts list.

/// One line each, without an end of line.
pub(super) const HELP: &str = "\
Options of a network:
  -o conflist=NAME
          the network configuration list; default: the first in file-name order
          that makes an interface, or else the built-in one, cnm-cni-default
  -o isolate=true|false
          keep its containers from those of other isolated networks and of
          Docker's own bridge networks; default: true for the built-in network,
          false for conflists
  -o forward=auto|always|open|never
          exempt its containers from a FORWARD chain that drops; open: and let
          new connections to them in
  -o spares=NUMBER|auto
          how many attachments are ready before a container asks, 0 to 64
  -o com.docker.network.driver.mtu=BYTES, -o mtu=BYTES
  -o cni.args.KEY=VALUE
          a pair of CNI_ARGS
  -o cni.capability.NAME=JSON
          an argument for the plugins that declare that capability

Options of the built-in network alone:
  -o com.docker.network.bridge.name=NAME
  -o com.docker.network.bridge.enable_ip_masquerade=true|false

Options of an endpoint:
  docker network connect --driver-opt KEY=VALUE, where KEY is one for the MTU,
  cni.args.KEY or cni.capability.NAME, as above, or
  ip=ADDRESS[+ADDRESS]
          addresses to ask the conflist for
  com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.KEY=VALUE,...";
