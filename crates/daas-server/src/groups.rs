//! Who belongs to a group of the host, read from `/etc/group` and `/etc/passwd` (group(5), passwd(5)).

use std::path::Path;

/// A group of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) gid: u32,
    members: Vec<String>,
}

/// Returns the group `name`, if the host has it.
pub(crate) fn find(name: &str) -> Option<Group> {
    find_in(
        &std::fs::read_to_string(Path::new("/etc/group")).ok()?,
        name,
    )
}

/// Tells whether the user belongs to the group, by his own group or by the list of members.
pub(crate) fn has(group: &Group, uid: u32, gid: u32) -> bool {
    gid == group.gid
        || std::fs::read_to_string(Path::new("/etc/passwd"))
            .is_ok_and(|passwd| has_in(&passwd, group, uid))
}

fn find_in(text: &str, name: &str) -> Option<Group> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, gid, members] = fields[..] else {
            return None;
        };
        if found != name {
            return None;
        }
        let members = members
            .split(',')
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect();
        Some(Group {
            gid: gid.parse().ok()?,
            members,
        })
    })
}

fn has_in(passwd: &str, group: &Group, uid: u32) -> bool {
    passwd.lines().any(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1));
        id.and_then(|id| id.parse::<u32>().ok()) == Some(uid)
            && name.is_some_and(|name| group.members.iter().any(|member| member == name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name() {
        let group = find_in("root:x:0:\ndaasx:x:7:eve\ndaas:x:990:ann,bob\n", "daas").unwrap();
        let passwd =
            "root:x:0:0::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\neve:x:1002:1002::/:/bin/sh\n";
        assert_eq!(group.gid, 990);
        assert!(has_in(passwd, &group, 1001));
        assert!(
            !has_in(passwd, &group, 1002)
                && !has_in(passwd, &group, 0)
                && !has_in("", &group, 1001)
        );
        assert_eq!(find_in("broken\ndaas:x:notanumber:\n", "daas"), None);
    }
}
