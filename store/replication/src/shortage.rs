//! How much room a replica has, and what it reports of that to others.

/// How much of one resource a replica uses, compared with its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Much less than the limit.
    #[default]
    Enough,
    /// Not much less: whatever can be dropped without loss is dropped.
    Near,
    /// More than the limit. The shell makes sure that this does not change with every write.
    Over,
    /// So much more that every write that grows the data is refused, without exception.
    Far,
    /// Only promises, voters and the first entry of a term still fit.
    Full,
}

/// How much room a replica has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Room {
    /// For data in memory.
    pub memory: Level,
    /// On the volume.
    pub disk: Level,
}

/// Which limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Of data in memory.
    Memory,
    /// Of the volume.
    Disk,
}

/// What a follower reports of its room in each echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shortage {
    /// It is over its limit of memory.
    pub memory: bool,
    /// Less than the reserve is free on its volume.
    pub disk: bool,
    /// It accepts no entries: nothing fits on its volume.
    pub full: bool,
}

impl Room {
    /// What others learn.
    pub fn shortage(self) -> Shortage {
        Shortage { memory: self.memory >= Level::Over, disk: self.disk >= Level::Over, full: self.disk == Level::Full }
    }
}

impl Shortage {
    /// The limit that is exceeded; the disk's, if both are.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Shortage { disk: true, .. } | Shortage { full: true, .. } => Some(Limit::Disk),
            Shortage { memory: true, .. } => Some(Limit::Memory),
            Shortage { .. } => None,
        }
    }
}
