use super::addresses::HostRange;
use crate::dial::{DialError, Dialer};
use crate::kernel;
use daas_model::{Explain, Kind};
use daas_sys::netlink::{self, Route};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Addresses of stands on an interface of the host: for a range that the team's routers send to this machine.
///
/// The default range needs none of this: every Linux host has all of 127.0.0.0/8.
#[derive(Debug, Clone)]
pub struct RoutedAddresses {
    dialer: Dialer,
    interface: String,
    range: HostRange,
}

/// An address that could not be given to or taken from an interface.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} on interface `{interface}`")]
pub struct RoutedError {
    /// What was attempted.
    pub action: String,
    /// The interface.
    pub interface: String,
    /// What was said.
    pub source: DialError,
}

impl Explain for RoutedError {
    fn code(&self) -> &'static str {
        "address-on-interface"
    }

    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn hint(&self) -> Option<String> {
        Some(format!(
            "`ip link show {}` tells whether the interface is there",
            self.interface
        ))
    }
}

impl RoutedAddresses {
    /// Changes nothing yet.
    #[must_use]
    pub fn new(dialer: Dialer, interface: String, range: HostRange) -> Self {
        Self {
            dialer,
            interface,
            range,
        }
    }

    /// Gives the interface one address, alone (/32, /128). Right when it has it already.
    ///
    /// # Errors
    /// [`RoutedError`] with what the kernel says.
    pub async fn add(&self, address: IpAddr) -> Result<(), RoutedError> {
        let interface = self.interface.clone();
        let work = move || {
            let index = i32::try_from(netlink::index_of(&interface)?).map_err(io::Error::other)?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            match Route::open()?
                .batch(vec![netlink::address(index, address, bits)])
                .map_err(io::Error::from)
            {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        };
        let done = self.dialer.at_home("add an address", work).await;
        done.map_err(|source| self.failed(format!("add {address}"), source))
    }

    /// Takes an address from the interface. Right when it, or the interface, is gone.
    ///
    /// # Errors
    /// [`RoutedError`] with what the kernel says.
    pub async fn remove(&self, address: IpAddr) -> Result<(), RoutedError> {
        let interface = self.interface.clone();
        let work = move || take(&interface, address);
        let done = self.dialer.at_home("remove an address", work).await;
        done.map_err(|source| self.failed(format!("remove {address}"), source))
    }

    /// Takes every address of the range from the interface that is not in `alive`, and returns them: for the daemon's start.
    ///
    /// # Errors
    /// [`RoutedError`] with what the kernel says.
    pub async fn sweep(&self, alive: BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, RoutedError> {
        let (interface, range) = (self.interface.clone(), self.range);
        let work = move || {
            let mut found = kernel::single_addresses(netlink::index_of(&interface)?)?;
            found.retain(|address| range.contains(*address) && !alive.contains(address));
            for address in &found {
                take(&interface, *address)?;
            }
            Ok(found)
        };
        let swept = self.dialer.at_home("sweep addresses", work).await;
        swept.map_err(|source| self.failed("sweep addresses".into(), source))
    }

    fn failed(&self, action: String, source: DialError) -> RoutedError {
        RoutedError {
            action,
            interface: self.interface.clone(),
            source,
        }
    }
}

fn take(interface: &str, address: IpAddr) -> io::Result<()> {
    use rustix::io::Errno;
    let removed =
        netlink::index_of(interface).and_then(|index| kernel::remove_address(index, address));
    match removed {
        Err(error)
            if [Errno::NODEV, Errno::ADDRNOTAVAIL]
                .iter()
                .any(|gone| error.raw_os_error() == Some(gone.raw_os_error())) =>
        {
            Ok(())
        }
        other => other,
    }
}
