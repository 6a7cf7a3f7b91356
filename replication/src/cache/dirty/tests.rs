use proptest::prelude::*;

use super::*;

/// Block contents as `(version, index within the write)`; enough to see a wrong slice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Marks(Vec<(u64, u64)>);

impl Data for Marks {
    fn blocks(&self) -> u64 {
        self.0.len() as u64
    }
    fn slice(&self, first: u64, blocks: u64) -> Self {
        let (first, blocks) = (usize::try_from(first).unwrap(), usize::try_from(blocks).unwrap());
        Self(self.0[first..first + blocks].to_vec())
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        self.0.iter().zip(&other.0).position(|(mine, theirs)| mine != theirs).map(|at| at as u64 * 512)
    }
    fn or(&self, _: &[Self]) -> Self {
        self.clone()
    }
}

const SPACE: u64 = 32;

/// The slow twin: one entry a block.
#[derive(Clone, Default)]
struct Plain(BTreeMap<u64, (Version, bool, PieceState, (u64, u64))>);

#[derive(Clone, Debug)]
enum Step {
    Insert(Extent, bool),
    Ripen,
    NextRun(u64),
    Finish(usize, bool),
    Fail(usize),
    Release(Extent, u64),
}

fn extent() -> impl Strategy<Value = Extent> {
    (0..SPACE, 1..9_u64).prop_map(|(lba, blocks)| Extent::new(lba, blocks.min(SPACE - lba)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (extent(), any::<bool>()).prop_map(|(extent, owed)| Step::Insert(extent, owed)),
        1 => Just(Step::Ripen),
        2 => (1..16_u64).prop_map(Step::NextRun),
        2 => (0..4_usize, any::<bool>()).prop_map(|(run, keep)| Step::Finish(run, keep)),
        1 => (0..4_usize).prop_map(Step::Fail),
        1 => (extent(), 0..60_u64).prop_map(|(extent, version)| Step::Release(extent, version)),
    ]
}

fn check(map: &DirtyMap<Marks>, plain: &Plain) {
    let mut seen = BTreeMap::new();
    for (extent, piece) in map.iter() {
        assert_eq!(piece.data.blocks(), extent.blocks);
        for (offset, lba) in (extent.lba..extent.end()).enumerate() {
            seen.insert(lba, (piece.version, piece.owed, piece.state, piece.data.0[offset]));
        }
        assert!(piece.state == PieceState::Dirty || !map.ripe.contains(&extent.lba));
    }
    assert_eq!(seen.len() as u64, map.blocks());
    assert_eq!(seen.keys().collect::<Vec<_>>(), plain.0.keys().collect::<Vec<_>>());
    for (lba, (version, owed, state, mark)) in &plain.0 {
        let piece = &seen[lba];
        assert_eq!((piece.0, piece.2, piece.3), (*version, *state, *mark), "block {lba}");
        assert!(piece.1 || !owed, "block {lba}: a debt was forgotten");
    }
    assert_eq!(map.owes(), map.iter().any(|(_, piece)| piece.owed));
}

proptest! {
    #[test]
    fn behaves_like_one_entry_a_block(steps in prop::collection::vec(step(), 1..60)) {
        let mut map = DirtyMap::default();
        let mut plain = Plain::default();
        let mut runs: Vec<Run<Marks>> = Vec::new();
        let mut version = Version(0);
        for step in steps {
            match step {
                Step::Insert(extent, owed) => {
                    version = version.next();
                    let marks = Marks((0..extent.blocks).map(|index| (version.0, index)).collect());
                    let inherits = (extent.lba..extent.end()).any(|lba| plain.0.get(&lba).is_some_and(|old| old.1));
                    for (index, lba) in (extent.lba..extent.end()).enumerate() {
                        let entry = (version, owed || inherits, PieceState::Dirty, marks.0[index]);
                        plain.0.insert(lba, entry);
                    }
                    map.insert(extent, version, marks, owed);
                }
                Step::Ripen => map.ripen(version),
                Step::NextRun(most) => {
                    let in_flight = runs.clone();
                    let blocked = |extent: Extent| in_flight.iter().any(|run| run.extent.overlaps(extent));
                    if let Some(run) = map.next_run(most, blocked) {
                        for (extent, of, data) in &run.pieces {
                            for (offset, lba) in (extent.lba..extent.end()).enumerate() {
                                let entry = plain.0.get_mut(&lba).unwrap();
                                prop_assert_eq!((entry.0, entry.2, entry.3), (*of, PieceState::Dirty, data.0[offset]));
                                entry.2 = PieceState::Writing;
                            }
                        }
                        runs.push(run);
                    }
                }
                Step::Finish(index, keep) if index < runs.len() => {
                    let run = runs.remove(index);
                    map.finish_run(&run, keep);
                    for (extent, of, _) in &run.pieces {
                        for lba in extent.lba..extent.end() {
                            let Some(entry) = plain.0.get_mut(&lba) else { continue };
                            if keep && entry.0 == *of && entry.2 == PieceState::Writing {
                                entry.2 = PieceState::Written;
                            } else if !keep && entry.0 <= *of {
                                plain.0.remove(&lba);
                            }
                        }
                    }
                }
                Step::Fail(index) if index < runs.len() => {
                    let run = runs.remove(index);
                    map.fail_run(&run);
                    for (extent, of, _) in &run.pieces {
                        for lba in extent.lba..extent.end() {
                            if let Some(entry) = plain.0.get_mut(&lba)
                                && entry.0 == *of
                                && entry.2 == PieceState::Writing
                            {
                                entry.2 = PieceState::Dirty;
                            }
                        }
                    }
                }
                Step::Release(extent, up_to) => {
                    map.remove_up_to(extent, Version(up_to));
                    for lba in extent.lba..extent.end() {
                        if plain.0.get(&lba).is_some_and(|entry| entry.0.0 <= up_to) {
                            plain.0.remove(&lba);
                        }
                    }
                }
                Step::Finish(..) | Step::Fail(_) => {}
            }
            check(&map, &plain);
        }
    }
}

#[test]
fn everything_dirty_reaches_the_disk_in_the_end() {
    let mut map = DirtyMap::default();
    for n in 1..=20_u64 {
        let extent = Extent::new((n * 7) % 29, 3);
        map.insert(extent, Version(n), Marks((0..3).map(|index| (n, index)).collect()), true);
    }
    map.ripen(Version(20));
    let mut written = 0;
    while let Some(run) = map.next_run(8, |_| false) {
        assert!(run.extent.blocks <= 8);
        written += run.extent.blocks;
        map.finish_run(&run, true);
        map.remove_up_to(run.extent, Version(20));
    }
    assert!(map.is_empty() && !map.owes() && map.blocks() == 0, "{map:?}");
    assert!(written > 0);
}

/// So many blocks, written or a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part(u64, bool);

impl Data for Part {
    fn blocks(&self) -> u64 {
        self.0
    }
    fn slice(&self, _first: u64, blocks: u64) -> Self {
        Self(blocks, self.1)
    }
    fn first_difference(&self, _other: &Self) -> Option<u64> {
        None
    }
    fn is_hole(&self) -> bool {
        self.1
    }
    fn or(&self, _: &[Self]) -> Self {
        self.clone()
    }
}

#[test]
fn holes_go_to_the_disk_together_and_apart_from_what_is_written() {
    let mut map = DirtyMap::default();
    for (lba, blocks, hole) in [(0, 4, false), (4, 2, true), (6, 100, true), (106, 1, false), (107, 1, false)] {
        map.insert(Extent::new(lba, blocks), Version(lba + 1), Part(blocks, hole), true);
    }
    map.ripen(Version(1000));
    let mut runs = Vec::new();
    while let Some(run) = map.next_run(128, |_| false) {
        runs.push((run.extent, run.is_hole(), run.pieces.len()));
    }
    let written = |lba, blocks, pieces| (Extent::new(lba, blocks), false, pieces);
    assert_eq!(runs, [written(0, 4, 1), (Extent::new(4, 102), true, 2), written(106, 2, 2)]);
}
