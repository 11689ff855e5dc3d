//! Numbers by which shell and state machine identify work under way.

/// Numbers writes that are to become durable. `Persisted { ticket }` means: this one and all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A connection between two replicas, named by our end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// We dialled; the state machine chose the number.
    Dialled(u64),
    /// Another replica dialled; the shell chose the number and never uses it twice.
    Accepted(u64),
}

/// A request of another replica that waits for its answer; the shell chose the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A client's write that waits for its commit; the shell chose the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// A client's strong read that waits for its turn; the shell chose the number, from 1 upwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);
