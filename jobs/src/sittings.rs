//! Who is here at the moment: people come, stay for a while, leave, and come back.
//!
//! A fixed number of places is taken by members drawn by popularity. Something happens at a
//! random place; when a sitting has had its share of events, its place goes to somebody else. So
//! one person's events come in bursts with pauses between, and regulars return often.

use crate::random::{Popularity, Random};

/// The places and who sits there.
#[derive(Clone, Debug)]
pub struct Sittings<T> {
    places: Vec<Option<Sitting<T>>>,
    members: Popularity,
}

/// One stay of one member.
#[derive(Clone, Debug)]
pub struct Sitting<T> {
    /// Who it is.
    pub member: u32,
    /// What the job's world remembers about the stay.
    pub state: T,
    events_left: u32,
}

impl<T: Default> Sittings<T> {
    /// Empty places for members of the given popularity.
    pub fn new(places: usize, members: Popularity) -> Self {
        let places = (0..places.max(1)).map(|_| None).collect();
        Sittings { places, members }
    }

    /// The sitting in which the next event happens. A new one lasts 1 to `longest` events.
    pub fn next(&mut self, longest: u32, random: &mut Random) -> &mut Sitting<T> {
        let at = random.below(self.places.len() as u64) as usize;
        let place = &mut self.places[at];
        if place.as_ref().is_some_and(|sitting| sitting.events_left == 0) {
            *place = None;
        }
        let sitting = place.get_or_insert_with(|| Sitting {
            member: self.members.pick(random),
            state: T::default(),
            events_left: random.between(1, u64::from(longest.max(1))) as u32,
        });
        sitting.events_left -= 1;
        sitting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sitting_keeps_its_state_until_it_ends_and_members_return() {
        let mut random = Random::new(5, 0);
        let members = Popularity::zipf(10, &mut random);
        let mut sittings: Sittings<u32> = Sittings::new(3, members);
        let mut begun = [0; 10];
        for _ in 0..1000 {
            let sitting = sittings.next(4, &mut random);
            sitting.state += 1;
            assert!(sitting.state <= 4);
            if sitting.state == 1 {
                begun[sitting.member as usize] += 1;
            }
        }
        assert!(begun.iter().all(|&times| times > 1), "{begun:?}");
    }
}
