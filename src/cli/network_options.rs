//! The options of networks and endpoints, which several help texts list.

/// One line each, without an end of line.
pub(super) const HELP: &str = "\
Options of a network, which 'docker network create --help' cannot tell (-o KEY=VALUE):
  conflist=NAME               the network configuration list; default: the first in file-name order that
                              makes an interface, or else the built-in network, cnm-cni-default
  isolate=true|false          keep its containers from those of other isolated networks and of Docker's own
                              bridge networks; default: true for the built-in network, false for conflists
  forward=auto|always|open|never
                              exempt its containers from a FORWARD chain that drops; open: and let new
                              connections to them in
  spares=NUMBER|auto          how many attachments are ready before a container asks, 0 to 64
  com.docker.network.driver.mtu=BYTES, or mtu=BYTES
  cni.args.KEY=VALUE          a pair of CNI_ARGS
  cni.capability.NAME=JSON    an argument for the plugins that declare that capability
Of the built-in network alone:
  com.docker.network.bridge.name=NAME
  com.docker.network.bridge.enable_ip_masquerade=true|false
Options of a container's end (docker network connect --driver-opt KEY=VALUE): the MTU, cni.args.KEY and
cni.capability.NAME as above, and
  ip=ADDRESS[+ADDRESS]        addresses to ask the conflist for
  com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.KEY=VALUE,...";
