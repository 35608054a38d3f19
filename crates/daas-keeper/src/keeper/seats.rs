//! Processes that wait to be told which node they are: made with a spare keeper, so that a stand that is wanted finds them ready.
//!
//! A seat has all that is the same for every node: namespaces, a cgroup, the file systems of the system, a link whose port forwards. Only nodes that need
//! nothing of another kind take one; all others are born as ever. What nobody took is sent away some seconds after the stand began.

use super::adopt::{FIRST_BRIDGE, bridge};
use super::{Alarm, Keeper};
use crate::birth::{Birth, NodeBirth, Report, SeatBirth, go};
use crate::channel::Channel;
use crate::child_seat::LINK;
use crate::error::KeeperError;
use crate::launch::{NetworkLaunch, NodeLaunch};
use daas_model::{ByteSize, HostNamespaces, Limits};
use daas_sys::cgroup::{Group, Mode};
use daas_sys::netlink::{self, LinkEnd};
use daas_sys::{Attempt, netns, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// One of them.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) pid: i32,
    pub(super) group: Group,
    /// The router's end of its link.
    pub(super) link: i32,
    /// Whether the port of the bridge forwards.
    pub(super) forwards: bool,
    status: Channel,
}

/// How long after the beginning of a stand seats wait for nodes that start later than others.
const KEPT: Duration = Duration::from_secs(5);

/// Below this many processes a stand gets no seats: each is one of them.
const FEW_PIDS: u32 = 64;
/// Below this much memory a stand gets no seats: each holds about half a mebibyte of it.
const LITTLE_MEMORY: ByteSize = ByteSize::mib(64);

impl Seat {
    /// The name of the router's end of its link.
    pub(super) fn link_name(&self) -> String {
        link_name(self.link)
    }

    /// Tells it which node it is.
    pub(super) fn tell(
        &self,
        birth: &NodeBirth,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), KeeperError> {
        Ok(self
            .status
            .send_parcel(birth, fds)
            .attempt(|| "tell a waiting process which node it is")?)
    }

    /// Tells whether the other end of its socket is open: nobody but it holds that.
    fn listens(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let now = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&self.status, PollFlags::empty())];
        poll(&mut watched, Some(&now)).is_ok()
            && !watched[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Gives its socket to whoever follows the launch.
    pub(super) fn into_status(self) -> Channel {
        self.status
    }
}

fn link_name(index: i32) -> String {
    format!("v{index}")
}

impl Keeper {
    /// Makes as many as the seed says, and the first bridge for their links.
    pub(super) fn make_seats(&mut self) -> Result<(), KeeperError> {
        self.steps.take("prepare.seats")?;
        if self.seed.seats == 0 {
            return Ok(());
        }
        let mut born = Vec::new();
        for number in 0..self.seed.seats {
            born.push(self.send_seat(number)?);
        }
        let mut messages = vec![bridge(FIRST_BRIDGE)];
        let mut nets: Vec<OwnedFd> = Vec::new();
        for (group, status) in born {
            let pid = self.receive_pid()?;
            nets.push(netns::of_process(pid).attempt(|| "open the network of a new process")?);
            let link = self.next_link;
            self.next_link += 1;
            self.seats.push_back(Seat {
                pid,
                group,
                link,
                forwards: false,
                status,
            });
        }
        for (seat, net) in self.seats.iter().zip(&nets) {
            let name = seat.link_name();
            let here = LinkEnd {
                name: &name,
                index: seat.link,
                mac: None,
            };
            let there = LinkEnd {
                name: "eth0",
                index: LINK,
                mac: None,
            };
            messages.push(netlink::veth(here, Some(FIRST_BRIDGE), there, net.as_fd()));
        }
        self.route
            .batch(messages)
            .attempt(|| "make the first bridge and its links")?;
        self.has_first_bridge = true;
        for seat in &self.seats {
            let _ = seat.status.send_bytes(&[go::NETWORK]);
        }
        for seat in &mut self.seats {
            await_seated(&mut seat.status)?;
        }
        Ok(())
    }

    /// Asks the spawner for one.
    fn send_seat(&mut self, number: u32) -> Result<(Group, Channel), KeeperError> {
        let group = self.group.create_seat(number)?;
        let (status, theirs) = Channel::pair().attempt(|| "make a socket")?;
        let (theirs, dev, cgroup) = (
            OwnedFd::from(theirs),
            self.desk.make_dev(&[])?,
            group.open()?,
        );
        let birth = SeatBirth {
            status: 0,
            dev: 1,
            cgroup: 2,
            show_cgroups: self.root.mode() == Mode::V2,
        };
        self.spawner
            .send_parcel(
                &Birth::Seat(Box::new(birth)),
                &[theirs.as_fd(), dev.as_fd(), cgroup.as_fd()],
            )
            .attempt(|| "ask the spawner")?;
        Ok((group, status))
    }

    /// Takes a seat for a node, if there is one and the node needs nothing that a seat cannot have.
    pub(super) fn take_seat(&mut self, launch: &NodeLaunch) -> Option<Seat> {
        if !self.fits_a_seat(launch) {
            return None;
        }
        while let Some(seat) = self.seats.pop_front() {
            if seat.listens() {
                return Some(seat);
            }
            // It died, and its signal is not heard yet.
            self.leaving.insert(seat.pid, seat.group);
        }
        None
    }

    fn fits_a_seat(&self, launch: &NodeLaunch) -> bool {
        let NetworkLaunch::Interfaces(interfaces) = &launch.network else {
            return false;
        };
        let [interface] = interfaces.as_slice() else {
            return false;
        };
        let on_first = self
            .bridges
            .get(&interface.network)
            .is_some_and(|bridge| bridge.index == FIRST_BRIDGE);
        // Links take defaults of sysctls when they are made, and IPv6 when they come up.
        on_first
            && interface.ipv6.is_none()
            && launch.sysctls.is_empty()
            // Only the host's root may do these, which a seat is no more.
            && launch.oom_score_adj.is_none()
            && (self.root.mode() == Mode::V2 || launch.limits.is_empty())
            // Other file systems of the system than it has.
            && launch.shm_size.is_none()
            && launch.devices.is_empty()
            && launch.rights.masks
            && launch.host == HostNamespaces::default()
    }

    /// Ends all seats of a stand whose ceiling is so low that they would be felt until they go.
    pub(super) fn spare_seats_for(&mut self, limits: &Limits) -> Result<(), KeeperError> {
        if limits.pids < FEW_PIDS || limits.memory < LITTLE_MEMORY {
            self.end_seats()?;
        }
        Ok(())
    }

    /// Lets the seats that nobody takes go, after a while.
    pub(super) fn keep_seats_for_a_while(&mut self) {
        if !self.seats.is_empty() {
            self.alarm_in(KEPT, Alarm::Seats);
        }
    }

    /// Sends all seats away that nobody took.
    pub(super) fn send_seats_away(&mut self) {
        while let Some(seat) = self.seats.pop_front() {
            let _ = process::kill(seat.pid, 9);
            self.leaving.insert(seat.pid, seat.group);
        }
    }

    /// The same, and waits until they are gone with everything that they held.
    pub(super) fn end_seats(&mut self) -> Result<(), KeeperError> {
        while let Some(seat) = self.seats.pop_front() {
            let _ = process::kill(seat.pid, 9);
            process::wait_for(seat.pid).attempt(|| "wait for a process that was killed")?;
            seat.group.remove(Duration::from_secs(2))?;
        }
        Ok(())
    }

    /// Somebody ended; tells whether it was one that nobody had told what to be, or had sent away.
    pub(super) fn seat_ended(&mut self, pid: i32) -> bool {
        if let Some(at) = self.seats.iter().position(|seat| seat.pid == pid) {
            self.seats.remove(at);
            return true;
        }
        match self.leaving.remove(&pid) {
            Some(group) => {
                // A cgroup that stays goes with the stand.
                let _ = group.remove(Duration::from_millis(20));
                true
            }
            None => false,
        }
    }
}

/// Waits until a new seat is ready.
fn await_seated(status: &mut Channel) -> Result<(), KeeperError> {
    loop {
        match status
            .receive_parcel::<Report>()
            .attempt(|| "hear from a new process")?
        {
            Some((Report::Seated, _)) => return Ok(()),
            Some((Report::Failed(failure), _)) => {
                return Err(KeeperError::child("of nobody yet", failure));
            }
            Some(_) => {}
            None => return Err(KeeperError::wrong("a process that shall wait has ended")),
        }
    }
}
