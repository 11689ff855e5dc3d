//! Numbers by which shell and state machine name what is under way.

/// Numbers what is to become durable. `Persisted { ticket }` means: this one and all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A connection between two replicas, named by the end that we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// We dialled; the number is the state machine's.
    Dialled(u64),
    /// It was dialled by another; the number is the shell's and never used twice.
    Accepted(u64),
}

/// A request of another replica that waits for its answer; the number is the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A client's write that waits for its commit; the number is the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// A client's strong read that waits for its turn; the number is the shell's, from 1, and each later one is higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);
