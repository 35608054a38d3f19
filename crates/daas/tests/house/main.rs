//! Tests of the whole house, on real kernels.

mod builds;
mod cgroup_v2;
mod edge;
mod names;
mod registry_tls;
mod systemd;
mod trials;
mod trust;
