//! [`Groups`]: all groups that have members, or had some a moment ago.
//!
//! Membership is not kept over a restart: members find themselves unknown, and join anew. What they
//! have committed is kept, elsewhere.

use super::group::{Claim, Group, GroupError};
use super::member::{JoinRequest, Joined, Synced};
use crate::clock::now_ms;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All groups, by name.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: Mutex<BTreeMap<String, Group>>,
}

/// An answer that may take as long as other members take.
type Pending<T> = oneshot::Receiver<Result<T, GroupError>>;

impl Groups {
    pub(crate) fn join(&self, name: &str, request: JoinRequest) -> Pending<Joined> {
        let (answer, pending) = oneshot::channel();
        match name {
            "" => drop(answer.send(Err(GroupError::InvalidName))),
            _ => self.lock().entry(name.to_owned()).or_default().join(request, answer, now_ms()),
        }
        pending
    }

    pub(crate) fn sync(
        &self,
        name: &str,
        claim: &Claim,
        shares: Vec<(String, Bytes)>,
    ) -> Pending<Synced> {
        let (answer, pending) = oneshot::channel();
        match self.lock().get_mut(name) {
            Some(group) => group.sync(claim, shares, answer, now_ms()),
            None => drop(answer.send(Err(GroupError::UnknownMember))),
        }
        pending
    }

    pub(crate) fn heartbeat(&self, name: &str, claim: &Claim) -> Result<(), GroupError> {
        let mut groups = self.lock();
        groups.get_mut(name).ok_or(GroupError::UnknownMember)?.heartbeat(claim, now_ms())
    }

    pub(crate) fn leave(
        &self,
        name: &str,
        member_id: &str,
        instance: Option<&str>,
    ) -> Result<(), GroupError> {
        let mut groups = self.lock();
        let group = groups.get_mut(name).ok_or(GroupError::UnknownMember)?;
        group.leave(member_id, instance, now_ms())
    }

    /// Says whether offsets may be committed by whoever claims to be a member, or none.
    pub(crate) fn check_commit(&self, name: &str, claim: &Claim) -> Result<(), GroupError> {
        match self.lock().get_mut(name) {
            _ if name.is_empty() && claim.generation >= 0 => Err(GroupError::InvalidName),
            Some(group) => group.check_commit(claim, now_ms()),
            None if claim.generation < 0 => Ok(()),
            None => Err(GroupError::IllegalGeneration),
        }
    }

    /// Looks at a group, if it has or had members.
    pub(crate) fn look<T>(&self, name: &str, look: impl FnOnce(&Group) -> T) -> Option<T> {
        self.lock().get(name).map(look)
    }

    /// Looks at all groups.
    pub(crate) fn look_at_all<T>(&self, look: impl FnMut((&String, &Group)) -> T) -> Vec<T> {
        self.lock().iter().map(look).collect()
    }

    /// Forgets a group that has no members.
    pub(crate) fn remove(&self, name: &str) -> Result<(), GroupError> {
        let mut groups = self.lock();
        match groups.get(name) {
            None => Err(GroupError::UnknownGroup),
            Some(group) if !group.is_deserted() => Err(GroupError::NotEmpty),
            Some(_) => {
                groups.remove(name);
                Ok(())
            }
        }
    }

    /// What time does.
    pub(crate) fn tick(&self, now_ms: i64) {
        let mut groups = self.lock();
        groups.values_mut().for_each(|group| group.tick(now_ms));
        groups.retain(|_, group| !group.is_deserted());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
