//! Tests of the whole house, on real kernels.

mod builds;
mod cgroup_v2;
mod names;
mod registry_tls;
mod systemd;
mod trials;
