//! Loop devices that free themselves.

use crate::fault::check;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
/// The device is freed when nobody has it open and it is mounted nowhere (linux/loop.h).
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device in use.
#[derive(Debug)]
pub struct LoopDevice {
    /// The open device; when it closes and the device is mounted nowhere, the device is freed.
    pub file: File,
    /// Its path, `/dev/loop7`.
    pub path: PathBuf,
}

/// Attaches `image` to a free loop device.
///
/// `scratch` is a folder on a file system that allows device files, used where `/dev` does not show new loop devices by itself.
///
/// # Errors
/// `NotFound` if there is no `/dev/loop-control`; `EBUSY` after many lost races; what ioctl LOOP_CONFIGURE says.
pub fn attach(image: BorrowedFd<'_>, name: &str, scratch: &Path) -> io::Result<LoopDevice> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut tries = 0;
    loop {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }.into())?;
        let (file, path) = open_device(u32::try_from(number).map_err(io::Error::other)?, scratch)?;
        // SAFETY: loop_config is plain data for which zero is valid.
        let mut config: LoopConfig = unsafe { std::mem::zeroed() };
        config.fd = u32::try_from(image.as_raw_fd()).map_err(io::Error::other)?;
        config.info.flags = LO_FLAGS_AUTOCLEAR;
        for (place, byte) in config.info.file_name.iter_mut().take(63).zip(name.bytes()) {
            *place = byte;
        }
        // SAFETY: the ioctl reads one loop_config, which lives through the call.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        match check(answer.into()) {
            Ok(_) => return Ok(LoopDevice { file, path }),
            // Somebody else took the same free number first.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && tries < 256 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

fn open_device(number: u32, scratch: &Path) -> io::Result<(File, PathBuf)> {
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(path)
    };
    let path = PathBuf::from(format!("/dev/loop{number}"));
    match open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Not a devtmpfs: /dev of a container.
            let own = scratch.join(format!("loop{number}"));
            let device = rustix::fs::makedev(7, number);
            match rustix::fs::mknodat(
                rustix::fs::CWD,
                &own,
                rustix::fs::FileType::BlockDevice,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                device,
            ) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            Ok((open(&own)?, own))
        }
        other => Ok((other?, path)),
    }
}
