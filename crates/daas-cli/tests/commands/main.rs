//! Command lines against a daemon with a platform in memory: what they print, and how they end.

mod copying;
mod help;
mod house;
mod images;
mod projects;
mod stands;
mod system;
mod terminal;
