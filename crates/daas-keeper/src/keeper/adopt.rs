//! A prepared keeper becomes a stand, and a stand changes while it runs.

use super::{Bridge, Keeper};
use crate::error::KeeperError;
use crate::launch::{BridgeLaunch, DnsTable, StandLaunch};
use daas_model::{FileName, Limits, NetworkName, VolumeName};
use daas_sys::Attempt;
use daas_sys::cgroup::Ceiling;
use daas_sys::netlink;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

/// The index of the first bridge in the router's namespace; those below are left to the kernel.
pub(super) const FIRST_BRIDGE: i32 = 10;

fn bridge_name(index: i32) -> String {
    format!("br{index}")
}

/// Makes a bridge of a stand.
pub(super) fn bridge(index: i32) -> netlink::Message {
    let [_, _, high, low] = index.to_be_bytes();
    // Locally administered, and the same in every stand: nothing outside ever sees it.
    netlink::bridge(&bridge_name(index), index, [0x02, 0xda, 0xa5, 0, high, low])
}

impl Keeper {
    pub(super) fn adopt(&mut self, launch: StandLaunch) -> Result<(), KeeperError> {
        if let Some(stand) = &self.stand {
            // Asked again after a crash of whoever asked: nothing is left to do.
            return if stand.stand_id == launch.stand_id {
                Ok(())
            } else {
                Err(KeeperError::OtherStand(stand.name.to_string()))
            };
        }
        self.steps.take("adopt.begin")?;
        check_networks(&launch.networks)?;
        self.steps.take("adopt.limits")?;
        self.limit(&launch.limits)?;
        self.spare_seats_for(&launch.limits)?;
        self.steps.take("adopt.disk")?;
        self.fit_disk(&launch.limits, launch.throw_away)?;
        self.steps.take("adopt.network")?;
        self.make_bridges(&launch.networks)?;
        self.steps.take("adopt.volumes")?;
        if let Some(disk) = &mut self.disk {
            disk.settle();
        }
        self.desk.meet_disk()?;
        self.make_volumes(&launch.volumes)?;
        self.steps.take("adopt.files")?;
        self.put_files(&launch.files)?;
        self.steps.take("adopt.done")?;
        self.keep_seats_for_a_while();
        self.names.set_table(&launch.dns);
        // The contents are on the private folder now; the state file and answers need none of them.
        self.stand = Some(StandLaunch {
            files: BTreeMap::new(),
            ..launch
        });
        self.write_state_soon();
        Ok(())
    }

    pub(super) fn reconfigure(
        &mut self,
        digest: Option<String>,
        limits: Option<Limits>,
        dns: Option<DnsTable>,
        networks: Vec<BridgeLaunch>,
        volumes: Vec<VolumeName>,
        files: BTreeMap<FileName, Vec<u8>>,
    ) -> Result<(), KeeperError> {
        if self.stand.is_none() {
            return Err(KeeperError::NoStand);
        }
        self.steps.take("reconfigure.begin")?;
        check_networks(&networks)?;
        for network in &networks {
            if self
                .bridges
                .get(&network.name)
                .is_some_and(|have| have.launch != *network)
            {
                return Err(KeeperError::Wrong {
                    what: format!("network {} exists with other addresses", network.name),
                    hint: Some(
                        "a network cannot change while the stand runs: take the stand down and up"
                            .to_owned(),
                    ),
                });
            }
        }
        if let Some(limits) = &limits {
            self.limit(limits)?;
            self.fit_disk(limits, self.throw_away())?;
        }
        self.make_bridges(&networks)?;
        self.make_volumes(&volumes)?;
        self.put_files(&files)?;
        if let Some(dns) = &dns {
            self.names.set_table(dns);
        }
        self.steps.take("reconfigure.done")?;
        if let Some(stand) = &mut self.stand {
            stand.limits = limits.unwrap_or(stand.limits);
            stand.dns = dns.unwrap_or_else(|| stand.dns.clone());
            stand.digest = digest.unwrap_or_else(|| stand.digest.clone());
            stand.networks.extend(
                networks
                    .into_iter()
                    .filter(|n| !stand.networks.contains(n))
                    .collect::<Vec<_>>(),
            );
            stand.volumes.extend(
                volumes
                    .into_iter()
                    .filter(|v| !stand.volumes.contains(v))
                    .collect::<Vec<_>>(),
            );
        }
        self.write_state_soon();
        Ok(())
    }

    fn limit(&mut self, limits: &Limits) -> Result<(), KeeperError> {
        self.pace.forget();
        Ok(self.group.limit(&ceiling(limits))?)
    }

    /// Makes the disk as it is wanted, while nobody's data is on it. Later it can only be opened anew, larger.
    fn fit_disk(&mut self, limits: &Limits, throw_away: bool) -> Result<(), KeeperError> {
        let Some(disk) = self.disk.take() else {
            return Err(KeeperError::wrong("the keeper has lost its disk"));
        };
        if self.stand.is_some() {
            let (have, want) = (disk.size(), limits.disk);
            self.disk = Some(disk);
            let (what, hint) = match want.cmp(&have) {
                Ordering::Equal => return Ok(()),
                Ordering::Less => (
                    format!("the disk has {have} and cannot shrink to {want}"),
                    "take the stand down and up",
                ),
                Ordering::Greater => (
                    format!("the disk has {have} and grows to {want} only while it is closed"),
                    "open the stand anew",
                ),
            };
            return Err(KeeperError::Wrong {
                what,
                hint: Some(hint.to_owned()),
            });
        }
        if !disk.is(limits.disk, !throw_away)
            && let Err(error) = self.end_seats()
        {
            // They see the disk too, and would keep it.
            self.disk = Some(disk);
            return Err(error);
        }
        self.disk = Some(disk.fit(limits.disk, !throw_away, Path::new("."))?);
        Ok(())
    }

    fn make_bridges(&mut self, networks: &[BridgeLaunch]) -> Result<(), KeeperError> {
        let new: Vec<&BridgeLaunch> = networks
            .iter()
            .filter(|n| !self.bridges.contains_key(&n.name))
            .collect();
        let mut messages = Vec::new();
        let mut made = Vec::new();
        for network in new {
            let index = self.next_bridge;
            self.next_bridge += 1;
            // The links of those who wait are on it already.
            if index != FIRST_BRIDGE || !self.has_first_bridge {
                messages.push(bridge(index));
            }
            made.push((network, index, bridge_name(index)));
        }
        if made.is_empty() {
            return Ok(());
        }
        self.route.batch(messages).attempt(|| "make the bridges")?;
        let mut addresses = Vec::new();
        for (network, index, name) in &made {
            if network.subnets.iter().any(|s| s.gateway.is_ipv6()) {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0")
                    .attempt(|| format!("allow IPv6 on network {}", network.name))?;
            }
            for subnet in &network.subnets {
                addresses.push((
                    netlink::address(*index, subnet.gateway, subnet.subnet.prefix),
                    network.name.clone(),
                ));
            }
        }
        let names: Vec<NetworkName> = addresses.iter().map(|(_, name)| name.clone()).collect();
        self.route
            .batch(addresses.into_iter().map(|(message, _)| message).collect())
            .map_err(|refused| {
                let network = names
                    .get(refused.at)
                    .map_or_else(String::new, |n| format!(" {n}"));
                KeeperError::from(daas_sys::Fault {
                    attempt: format!("give network{network} its address"),
                    source: refused.source,
                })
            })?;
        if let Some(guard) = &mut self.guard {
            let own: Vec<_> = made
                .iter()
                .flat_map(|(network, index, _)| network.subnets.iter().map(|s| (*index, s.gateway)))
                .collect();
            guard
                .reserve(&own)
                .attempt(|| "reserve the gateways' addresses")?;
        }
        for (network, index, _) in made {
            self.bridges.insert(
                network.name.clone(),
                Bridge {
                    index,
                    launch: network.clone(),
                },
            );
        }
        Ok(())
    }

    fn make_volumes(&self, volumes: &[VolumeName]) -> Result<(), KeeperError> {
        for volume in volumes {
            self.desk.ensure_volume(volume)?;
        }
        Ok(())
    }

    fn put_files(&self, files: &BTreeMap<FileName, Vec<u8>>) -> Result<(), KeeperError> {
        for (file, content) in files {
            self.desk.put_file(file, content)?;
        }
        Ok(())
    }
}

fn check_networks(networks: &[BridgeLaunch]) -> Result<(), KeeperError> {
    for network in networks {
        for subnet in &network.subnets {
            if !subnet.subnet.contains(subnet.gateway) {
                return Err(KeeperError::wrong(format!(
                    "the gateway {} of network {} is not in {}",
                    subnet.gateway, network.name, subnet.subnet
                )));
            }
        }
    }
    Ok(())
}

/// What the kernel is told of a stand's limits.
pub(super) fn ceiling(limits: &Limits) -> Ceiling {
    Ceiling {
        cpu_milli: Some(limits.cpus.0),
        memory: Some(limits.memory.0),
        pids: Some(limits.pids),
    }
}
