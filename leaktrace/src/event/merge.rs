//! Records of several rings in one order.
//!
//! What must come after a record was stamped after that record had been sent: a block is freed, and the free sent, before
//! its address is given to anyone else. So when a record stamped at `t` was read, and every ring has been emptied
//! since `t`, all that must come before it was read too; sorted by their stamps, they are in order. What was stamped
//! later than the moment at which the rings began to be emptied is held until they have been emptied once more.

/// Records that wait for those that must come before them.
#[derive(Debug, Default)]
pub(super) struct Merge {
    bytes: Vec<u8>,
    /// Those that are in order and not handed out, then those that are held.
    places: Vec<Place>,
    /// How many were handed out.
    next: usize,
    /// How many are in order.
    ready: usize,
    /// Where what is held is copied to, so that the rest makes room.
    spare: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    time_ns: u64,
    at: usize,
    length: usize,
}

impl Merge {
    /// Takes a record. Those of one ring come in their order.
    pub(super) fn push(&mut self, time_ns: u64, record: &[u8]) {
        self.places.push(Place { time_ns, at: self.bytes.len(), length: record.len() });
        self.bytes.extend_from_slice(record);
    }

    /// All that was stamped up to this moment, and sent by then, was pushed.
    pub(super) fn settle(&mut self, until_ns: u64) {
        self.forget_handed_out();
        // What the rings gave are runs that are sorted already, or nearly: a stable sort merges them.
        self.places.sort_by_key(|place| place.time_ns);
        self.ready = self.places.partition_point(|place| place.time_ns <= until_ns);
    }

    /// The next record that is in order.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let place = *self.places.get(..self.ready)?.get(self.next)?;
        self.next += 1;
        self.bytes.get(place.at..place.at + place.length)
    }

    /// Whether records are in order that were not handed out.
    pub(super) const fn is_ready(&self) -> bool {
        self.next < self.ready
    }

    /// Bytes of records that are held or not handed out, and of some that were.
    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn forget_handed_out(&mut self) {
        self.places.drain(..self.next);
        self.next = 0;
        self.ready = 0;
        self.spare.clear();
        for place in &mut self.places {
            let at = self.spare.len();
            self.spare.extend_from_slice(&self.bytes[place.at..place.at + place.length]);
            place.at = at;
        }
        std::mem::swap(&mut self.bytes, &mut self.spare);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handed_out(merge: &mut Merge) -> Vec<u8> {
        std::iter::from_fn(|| merge.next().map(|record| record[0])).collect()
    }

    #[test]
    fn what_is_stamped_later_than_the_rings_were_emptied_is_held() {
        let mut merge = Merge::default();
        merge.push(10, &[1]);
        merge.push(30, &[3, 3]);
        merge.push(20, &[2]);
        merge.settle(20);
        assert!(merge.is_ready());
        assert_eq!(handed_out(&mut merge), [1, 2]);
        assert!(!merge.is_ready());
        merge.push(25, &[9]);
        merge.settle(25);
        assert_eq!(handed_out(&mut merge), [9]);
        merge.settle(40);
        assert_eq!((handed_out(&mut merge), merge.held_bytes()), (vec![3], 2));
        merge.settle(50);
        assert_eq!(merge.next(), None);
        assert_eq!(merge.held_bytes(), 0);
    }

    #[test]
    fn one_moment_keeps_the_order_of_a_ring() {
        let mut merge = Merge::default();
        for record in 0..5 {
            merge.push(7, &[record]);
        }
        merge.settle(7);
        assert_eq!(handed_out(&mut merge), [0, 1, 2, 3, 4]);
    }

    /// Threads on several CPUs that pass blocks on to each other, each ring read when it pleases the reader.
    #[derive(Clone, Debug)]
    struct Step {
        /// The ring that the next record goes to.
        ring: usize,
        /// It comes this much later than the one before it that it depends on.
        pause_ns: u64,
        /// Between its stamp and its being sent so much time passes.
        held_up_ns: u64,
        /// The reader empties the rings before.
        reads: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            (0..3_usize, 0..5_u64, prop_oneof![3 => Just(0), 1 => 1..50_u64], prop::bool::weighted(0.3));
        let step =
            step.prop_map(|(ring, pause_ns, held_up_ns, reads)| Step { ring, pause_ns, held_up_ns, reads });
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn what_depends_on_another_comes_after_it(steps in steps(), chains in 1..4_usize) {
            // Each chain is one address: each of its records is stamped after the one before it was sent.
            let mut sent = Vec::new();
            let mut free_at = vec![0_u64; chains];
            for (number, step) in steps.iter().enumerate() {
                let chain = number % chains;
                let stamp = free_at[chain] + 1 + step.pause_ns;
                let sent_at = stamp + step.held_up_ns;
                free_at[chain] = sent_at;
                sent.push((sent_at, step.ring, stamp, number));
            }
            // A ring has its records in the order of sending.
            sent.sort_unstable();
            let mut reads: Vec<u64> =
                sent.iter().zip(&steps).filter(|(_, step)| step.reads).map(|((at, ..), _)| *at).collect();
            let end = sent.last().map_or(0, |last| last.0) + 1;
            reads.extend([end, end + 1]);
            let mut merge = Merge::default();
            let (mut taken, mut order) = (vec![false; sent.len()], Vec::new());
            for begins in reads {
                for ring in 0..3 {
                    // The rings are emptied one after the other, and what comes meanwhile is taken too.
                    let now = begins + 3 * ring as u64;
                    for (index, &(at, of, stamp, number)) in sent.iter().enumerate() {
                        if of == ring && at <= now && !std::mem::replace(&mut taken[index], true) {
                            merge.push(stamp, &(number as u64).to_le_bytes());
                        }
                    }
                }
                merge.settle(begins);
                while let Some(record) = merge.next() {
                    order.push(u64::from_le_bytes(record.try_into().expect("eight bytes")) as usize);
                }
            }
            merge.settle(u64::MAX);
            while let Some(record) = merge.next() {
                order.push(u64::from_le_bytes(record.try_into().expect("eight bytes")) as usize);
            }
            prop_assert_eq!(order.len(), steps.len());
            for chain in 0..chains {
                let of_chain: Vec<usize> = order.iter().copied().filter(|number| number % chains == chain).collect();
                prop_assert!(of_chain.is_sorted(), "chain {}: {:?}", chain, of_chain);
            }
        }
    }
}
