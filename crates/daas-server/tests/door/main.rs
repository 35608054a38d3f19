//! The door on a real socket, before a platform in memory.

mod access;
mod calls;
mod house;
mod sessions;
mod slow;
