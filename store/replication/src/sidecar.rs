//! What the sidecar says: role.json, as it was read last.

use crate::{ClusterId, Member, RoleView, Term};

/// See the module.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Sidecar {
    view: Option<RoleView>,
    /// A hand-edited Lease that is not promised to, for people.
    absurd_term: Option<Term>,
}

impl Sidecar {
    /// None: role.json was not read yet.
    pub(crate) fn view(&self) -> Option<&RoleView> {
        self.view.as_ref()
    }

    pub(crate) fn says(&mut self, view: RoleView) {
        self.view = Some(view);
    }

    /// The term of the Lease, where nobody promises to it because it was edited by hand.
    pub(crate) fn absurd_term(&self) -> Option<Term> {
        self.absurd_term
    }

    pub(crate) fn note_absurd_term(&mut self, term: Option<Term>) {
        self.absurd_term = term;
    }

    /// The cluster by the Lease.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.view.as_ref()?.cluster_id
    }

    /// The wanted pods. Empty: not known, or none.
    pub(crate) fn members(&self) -> &[Member] {
        self.view.as_ref().map_or(&[], |view| &view.members)
    }

    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.members().is_empty() || self.members().iter().any(|member| member.name == name)
    }
}
