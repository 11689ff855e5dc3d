//! How much room a replica has, and what it says of that to others.

/// How much is used of what a replica may use, of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Much less than the limit.
    #[default]
    Enough,
    /// Not much less: what can be let go without loss is let go.
    Near,
    /// More than the limit. The shell sees to it that this does not come and go with every write.
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

/// What a follower says of its room in each echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shortage {
    /// It is over its limit of memory.
    pub memory: bool,
    /// Less than the reserve is free on its volume.
    pub disk: bool,
    /// It takes no entries: nothing fits on its volume.
    pub full: bool,
}

impl Room {
    /// What others are told.
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
