//! Tests of the whole house, on real kernels.

mod builds;
mod cgroup_v2;
mod edge;
mod edges;
mod load;
mod names;
mod pebble;
mod registry_tls;
mod systemd;
mod tls;
mod trials;
mod trust;
