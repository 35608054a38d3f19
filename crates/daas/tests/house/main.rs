//! Tests of the whole house, on real kernels.

#[path = "../../../daas-build/tests/builds/authority.rs"]
#[expect(dead_code, reason = "the tests of the builder ask for more")]
mod authority;
mod builds;
mod cgroup_v2;
mod changes;
mod contexts;
mod crowd;
mod doors;
mod edge;
mod edges;
mod environment;
mod inside;
mod load;
mod names;
mod pebble;
mod reaching;
mod registry_tls;
#[path = "../../../daas-build/tests/builds/repository.rs"]
#[expect(dead_code, reason = "the tests of the builder ask for more")]
mod repository;
mod routes;
mod ssh;
mod systemd;
mod tls;
mod trials;
mod trust;
#[path = "../../../daas-build/tests/builds/web.rs"]
#[expect(dead_code, reason = "the tests of the builder look at what was asked")]
mod web;
mod words;
