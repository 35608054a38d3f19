//! Stands whose images are being built: their loops wait for them.

use daas_api::Failure;
use daas_model::StandName;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the loop of a stand waits for.
#[derive(Debug, Clone)]
pub(crate) enum Building {
    /// Images are built: the image that is being built, and what is done just now.
    Under { image: String, text: String },
    /// One of them could not be built: what is to be told until somebody asks anew.
    Failed(Failure),
}

/// The stands that wait, by name; the daemon's life is theirs.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    stands: Mutex<HashMap<StandName, (u64, Building)>>,
}

impl Waiting {
    fn stands(&self) -> MutexGuard<'_, HashMap<StandName, (u64, Building)>> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a stand wait for the builds `turn`; a later request takes the place of an earlier one.
    pub(crate) fn begin(&self, stand: &StandName, turn: u64) {
        let under = Building::Under {
            image: String::new(),
            text: "waiting for a build".into(),
        };
        self.stands().insert(stand.clone(), (turn, under));
    }

    /// Says what the builds `turn` do, unless the stand waits for others meanwhile; tells whether it was said.
    pub(crate) fn say(&self, stand: &StandName, turn: u64, building: Building) -> bool {
        match self.stands().get_mut(stand) {
            Some((of, known)) if *of == turn => {
                *known = building;
                true
            }
            _ => false,
        }
    }

    /// Lets a stand go on; with a turn, only if it waits for that.
    pub(crate) fn end(&self, stand: &StandName, turn: Option<u64>) {
        let mut stands = self.stands();
        if stands
            .get(stand)
            .is_some_and(|(of, _)| turn.is_none_or(|turn| turn == *of))
        {
            stands.remove(stand);
        }
    }

    /// Returns what a stand waits for.
    pub(crate) fn of(&self, stand: &StandName) -> Option<Building> {
        self.stands()
            .get(stand)
            .map(|(_, building)| building.clone())
    }
}
