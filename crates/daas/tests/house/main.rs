//! Tests of the whole house, on real kernels.

mod cgroup_v2;
mod systemd;
mod trials;
