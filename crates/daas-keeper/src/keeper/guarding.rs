//! Which addresses a node may use: told to the guard of the bridges when it begins and when it ends.

use super::Keeper;
use super::launching::Newborn;
use crate::launch::{NetworkLaunch, NodeLaunch};
use daas_model::NodeName;
use daas_sys::guard::Port;
use std::io;

/// Tells whether a node may use addresses that its networks give to nobody: it configures its network itself, or forwards for others.
pub(super) fn is_free(launch: &NodeLaunch) -> bool {
    let configures = daas_sys::caps::bit("NET_ADMIN").unwrap_or(0) & launch.rights.caps != 0;
    let forwards = |(name, value): (&String, &String)| {
        name.starts_with("net.") && name.contains("forward") && value.trim() != "0"
    };
    configures || launch.sysctls.iter().any(forwards)
}

impl Keeper {
    /// Admits the ports of all newborns in one transaction, before any of them may send.
    pub(super) fn admit(&mut self, born: &[(Newborn, i32)]) -> io::Result<()> {
        let Some(guard) = &mut self.guard else {
            return Ok(());
        };
        let mut ports = Vec::new();
        for (newborn, _) in born {
            let own: Vec<Port> = newborn.links.iter().map(|link| link.port.clone()).collect();
            ports.extend(own.iter().cloned());
            let Some(node) = self.nodes.get_mut(&newborn.name) else {
                continue;
            };
            node.ports = own;
            // Who may configure a network that it shares makes the owner's port free.
            let NetworkLaunch::ShareWith(owner) = &node.launch.network else {
                continue;
            };
            let (owner, free) = (owner.clone(), is_free(&node.launch));
            if let (true, Some(owner)) = (free, self.nodes.get_mut(&owner)) {
                owner.ports.iter_mut().for_each(|port| port.free = true);
                ports.extend(owner.ports.iter().cloned());
            }
        }
        guard.admit(&ports)
    }

    /// Closes the ports of a node that has ended.
    pub(super) fn dismiss(&mut self, name: &NodeName) {
        let ports = self
            .nodes
            .get_mut(name)
            .map(|node| std::mem::take(&mut node.ports))
            .unwrap_or_default();
        if self.ending || ports.is_empty() {
            return;
        }
        if let Some(guard) = &mut self.guard {
            // What stays admitted is a port that no longer exists, by an index that never comes again.
            let _ = guard.dismiss(&ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_free_by_its_capability_or_by_forwarding() {
        let name = NodeName::parse("web").expect("a name");
        let plain = NodeLaunch::new(name, Vec::new(), vec!["true".to_owned()]);
        assert!(!is_free(&plain));
        let with = |key: &str, value: &str| {
            let mut node = plain.clone();
            node.sysctls.insert(key.to_owned(), value.to_owned());
            is_free(&node)
        };
        assert!(with("net.ipv4.ip_forward", "1"));
        assert!(with("net.ipv6.conf.all.forwarding", "1"));
        assert!(!with("net.ipv4.ip_forward", "0"));
        assert!(!with("net.core.somaxconn", "1024"));
        let mut admin = plain.clone();
        admin.rights.caps |= 1 << 12;
        assert!(is_free(&admin));
    }
}
