//! The versions of one key, by the time from which each is valid.

/// A row of the versioned side, or the end of one.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) time: i64,
    pub(super) sequence: i64,
    /// The row; of a deletion, the row that was deleted.
    pub(super) bytes: Box<[u8]>,
    pub(super) is_deletion: bool,
}

/// Versions in the order of their times, no two of the same time.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Version>);

impl History {
    /// Adds a version; gives back the one of the same time, which it replaces.
    pub(super) fn put(&mut self, version: Version) -> Option<Version> {
        // Versions mostly come in order, so the place is mostly the end.
        let place = match self.0.last() {
            Some(last) if last.time >= version.time => {
                self.0.partition_point(|other| other.time < version.time)
            }
            _ => self.0.len(),
        };
        match self.0.get_mut(place) {
            Some(other) if other.time == version.time => Some(std::mem::replace(other, version)),
            _ => {
                self.0.insert(place, version);
                None
            }
        }
    }

    /// Where the version that is valid at `time` stands, if there is one and it is no deletion.
    pub(super) fn valid_at(&self, time: i64) -> Option<usize> {
        let last = self.0.partition_point(|version| version.time <= time).checked_sub(1)?;
        (!self.0[last].is_deletion).then_some(last)
    }

    /// Forgets what no time after the watermark can look up.
    pub(super) fn trim(&mut self, watermark: i64, gone: impl FnMut(Version)) {
        let past = self.0.partition_point(|version| version.time <= watermark);
        let forgotten = match &self.0[..] {
            // Nothing is valid after it, which is what no version says as well.
            [.., last] if past == self.0.len() && last.is_deletion => past,
            _ => past.saturating_sub(1),
        };
        self.0.drain(..forgotten).for_each(gone);
    }

    /// Forgets the versions that are named, while restoring.
    pub(super) fn remove_where(
        &mut self,
        mut is_gone: impl FnMut(&Version) -> bool,
        gone: impl FnMut(Version),
    ) {
        self.0.extract_if(.., |version| is_gone(version)).for_each(gone);
    }

    pub(super) fn get(&self, place: usize) -> &Version {
        &self.0[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Version> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
