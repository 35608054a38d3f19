//! What is told to those who listen.

use super::{Keeper, unix_ms};
use crate::protocol::{Event, EventKind, Told};
use daas_model::NodeName;

impl Keeper {
    /// Tells an event to every subscriber.
    pub(super) fn tell(&mut self, node: Option<&NodeName>, kind: EventKind, text: String) {
        let told = self.event(node, kind, text);
        let listeners: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, c)| c.subscribed)
            .map(|(id, _)| *id)
            .collect();
        for conn in listeners {
            self.say(conn, &told, Vec::new());
        }
    }

    pub(super) fn event(&mut self, node: Option<&NodeName>, kind: EventKind, text: String) -> Told {
        self.events += 1;
        Told::Event(Event {
            number: self.events,
            at_ms: unix_ms(),
            node: node.cloned(),
            kind,
            text,
        })
    }
}
