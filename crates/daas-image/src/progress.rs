/// What is happening to one piece of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The piece is known and waits for its turn.
    Waiting,
    /// Bytes arrive.
    Downloading,
    /// The piece is being read from an archive or made.
    Reading,
    /// The files of the layer are being written.
    Unpacking,
    /// The piece was here already.
    Present,
    /// The piece is complete.
    Done,
}

/// One step forward of a long work. Events of several pieces interleave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The piece: the first digits of a layer's digest, or a step in words.
    pub piece: String,
    /// What happens to it.
    pub phase: Phase,
    /// How much is done, in bytes for downloads, in thousandths for making.
    pub done: u64,
    /// How much there is in all, in the same unit; 0 if nobody knows.
    pub total: u64,
}

/// Who wants to know. Called often and from several threads; must not block.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Progress for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
