//! Joins that read what is arranged once for all of them, each at its own pace: against joins that
//! hold their inputs themselves.

use super::*;
use crate::operator::Readiness;
use std::cell::Cell;
use std::rc::Rc;

const INPUTS: usize = 3;

/// The rows of an epoch, by input.
type Epoch = [Vec<(super::Row, i64)>; INPUTS];
/// What a join shows in an epoch, with how often.
type Shown = HashMap<Vec<Option<i64>>, i64>;

/// One join of two of the inputs, which may be the same one.
#[derive(Clone, Debug)]
struct Reader {
    kind: JoinKind,
    residual: bool,
    inputs: [usize; 2],
}

impl Reader {
    fn spec(&self, only_grows: [bool; INPUTS]) -> JoinSpec {
        let less = || Residual { condition: Arc::new(Less), reads: vec![1, 3] };
        JoinSpec {
            kind: self.kind,
            left_keys: vec![0],
            right_keys: vec![0],
            residual: self.residual.then(less),
            only_grows: self.inputs.map(|input| only_grows[input]),
            ttl_ms: [None, None],
        }
    }
}

fn any_reader() -> impl Strategy<Value = Reader> {
    let input = 0..INPUTS;
    (any_kind(), any::<bool>(), [input.clone(), input]).prop_map(|(kind, residual, inputs)| {
        // Others with more than a key hold their inputs themselves.
        Reader { kind, residual: residual && kind == JoinKind::Inner, inputs }
    })
}

fn plain() -> SchemaRef {
    schema(["k", "v"])
}

fn context(epoch: usize) -> EpochContext {
    EpochContext { epoch: epoch as u64, ..CONTEXT }
}

fn batches(rows: &[(super::Row, i64)]) -> Vec<Batch> {
    if rows.is_empty() { Vec::new() } else { vec![batch(&plain(), rows)] }
}

fn shown(output: &Output) -> Shown {
    let mut shown = HashMap::new();
    accumulate(&mut shown, read(output));
    shown
}

/// What each join shows in each epoch, if it holds its inputs itself.
fn expected(readers: &[Reader], only_grows: [bool; INPUTS], epochs: &[Epoch]) -> Vec<Vec<Shown>> {
    let of_reader = |reader: &Reader| {
        let mut join = Join::new(reader.spec(only_grows), plain(), plain()).unwrap();
        let epochs = epochs.iter().enumerate().map(|(number, epoch)| {
            let mut output = Output::default();
            let inputs = reader.inputs.map(|input| batches(&epoch[input])).to_vec();
            join.apply(inputs, &context(number), &mut output).unwrap();
            shown(&output)
        });
        epochs.collect()
    };
    readers.iter().map(of_reader).collect()
}

/// The inputs' arrangements and their readers, each of which has come to some epoch.
struct Dataflow<'a> {
    epochs: &'a [Epoch],
    arranges: Vec<(Arrange, usize)>,
    readers: Vec<(Reader, Join, usize)>,
    shown: Vec<Vec<Shown>>,
    /// Before this epoch, what is arranged is saved.
    cut: usize,
    saved: Vec<Snapshot>,
}

impl<'a> Dataflow<'a> {
    fn new(readers: &[Reader], only_grows: [bool; INPUTS], epochs: &'a [Epoch]) -> Self {
        let ports = |input: usize| {
            readers.iter().flat_map(move |reader| {
                (0..2)
                    .filter(move |&port| reader.inputs[port] == input)
                    .map(move |port| (reader, port))
            })
        };
        let arranging = (0..INPUTS).map(|input| Arranging {
            spec: ArrangeSpec { keys: vec![0], only_grows: only_grows[input] },
            schema: plain(),
            readers: ports(input).count(),
            is_counted: ports(input)
                .any(|(reader, port)| reader.spec(only_grows).counts_rows(port)),
        });
        let arrangements = Arrangement::side_by_side(arranging.collect()).unwrap();
        let join = |reader: &Reader| {
            let [left, right] = reader.inputs.map(|input| arrangements[input].clone());
            (reader.clone(), Join::of(reader.spec(only_grows), left, right).unwrap(), 0)
        };
        Dataflow {
            epochs,
            readers: readers.iter().map(join).collect(),
            shown: vec![Vec::new(); readers.len()],
            arranges: arrangements.iter().map(|all| (Arrange::new(all.clone()), 0)).collect(),
            cut: usize::MAX,
            saved: vec![Snapshot::default(); INPUTS],
        }
    }

    /// Lets an input or a join go on by an epoch; whether it could.
    fn step(&mut self, actor: usize) -> bool {
        match actor.checked_sub(INPUTS) {
            None => self.arrange(actor),
            Some(reader) => self.join(reader),
        }
    }

    fn arrange(&mut self, input: usize) -> bool {
        let (arrange, at) = &mut self.arranges[input];
        // Nobody would ever settle what nobody reads: a plan has no such step.
        let is_read = self.readers.iter().any(|(reader, ..)| reader.inputs.contains(&input));
        let Some(epoch) = self.epochs.get(*at).filter(|_| is_read) else { return false };
        let (inputs, context) = (vec![batches(&epoch[input])], context(*at));
        if arrange.prepare(&inputs, &context).unwrap() == Readiness::Waits {
            return false;
        }
        if *at == self.cut {
            self.saved[input] = arrange.snapshot(SnapshotScope::Full).unwrap();
        }
        let mut output = Output::default();
        arrange.apply(inputs, &context, &mut output).unwrap();
        assert_eq!(read(&output).len(), epoch[input].len(), "the rows pass");
        *at += 1;
        true
    }

    fn join(&mut self, number: usize) -> bool {
        let (reader, join, at) = &mut self.readers[number];
        let is_complete = reader.inputs.iter().all(|&input| self.arranges[input].1 > *at);
        let Some(epoch) = self.epochs.get(*at).filter(|_| is_complete) else { return false };
        let inputs = reader.inputs.map(|input| batches(&epoch[input])).to_vec();
        let mut output = Output::default();
        // An epoch without rows does not come to a step.
        if inputs.iter().any(|batches| !batches.is_empty()) {
            join.apply(inputs, &context(*at), &mut output).unwrap();
        }
        self.shown[number].push(shown(&output));
        *at += 1;
        true
    }

    /// Goes on in this order, and then to the end; whoever can't takes no turn.
    fn run(&mut self, order: &[usize]) {
        let actors = INPUTS + self.readers.len();
        order.iter().for_each(|&actor| {
            self.step(actor % actors);
        });
        while (0..actors).any(|actor| self.step(actor)) {}
        assert!(self.readers.iter().all(|(.., at)| *at == self.epochs.len()), "nobody is stuck");
    }
}

/// Weighted rows of all inputs.
fn weighed(raw: &[[Vec<(super::Row, bool)>; INPUTS]], only_grows: [bool; INPUTS]) -> Vec<Epoch> {
    let mut bags = [const { None }; INPUTS].map(|_: Option<()>| super::Bag::new());
    let mut epoch = |rows: &[Vec<(super::Row, bool)>; INPUTS]| {
        std::array::from_fn(|input| weigh(&rows[input], only_grows[input], &mut bags[input]))
    };
    raw.iter().map(&mut epoch).collect()
}

fn any_raw() -> impl Strategy<Value = Vec<[Vec<(super::Row, bool)>; INPUTS]>> {
    let number = |n: i64| prop_oneof![6 => (1..n).prop_map(Some), 1 => Just(None)];
    let row = ((number(4), number(4)), prop::bool::weighted(0.4));
    let rows = prop::collection::vec(row, 0..5);
    prop::collection::vec([rows.clone(), rows.clone(), rows], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn who_reads_what_is_shared_sees_what_is_its_own(
        readers in prop::collection::vec(any_reader(), 1..5),
        only_grows in any::<[bool; INPUTS]>(),
        raw in any_raw(),
        order in prop::collection::vec(any::<usize>(), 0..100),
        cut in 0usize..8,
    ) {
        let epochs = weighed(&raw, only_grows);
        let expected = expected(&readers, only_grows, &epochs);
        let mut dataflow = Dataflow::new(&readers, only_grows, &epochs);
        dataflow.cut = cut.min(epochs.len() - 1);
        dataflow.run(&order);
        prop_assert_eq!(&dataflow.shown, &expected);

        let mut resumed = Dataflow::new(&readers, only_grows, &epochs[dataflow.cut..]);
        for ((arrange, _), saved) in resumed.arranges.iter_mut().zip(&dataflow.saved) {
            arrange.restore(saved).unwrap();
        }
        resumed.run(&order);
        for (shown, expected) in resumed.shown.iter().zip(&expected) {
            prop_assert_eq!(shown, &expected[dataflow.cut..]);
        }
    }
}

#[test]
fn an_epoch_waits_until_all_have_read_the_one_before() {
    let reader = |kind| Reader { kind, residual: false, inputs: [0, 1] };
    let readers = [reader(JoinKind::Inner), reader(JoinKind::Left)];
    let epochs = [[vec![row(1, 5)], vec![], vec![]], [vec![row(1, 6)], vec![row(1, 7)], vec![]]];
    let mut dataflow = Dataflow::new(&readers, [false; INPUTS], &epochs);
    let woken = Rc::new(Cell::new(0));
    let counter = woken.clone();
    dataflow.arranges[0].0.woken_by(Rc::new(move || counter.set(counter.get() + 1)));
    assert!(dataflow.arrange(0) && dataflow.arrange(1));
    assert!(dataflow.join(0) && !dataflow.arrange(0), "the left join has not read it");
    assert_eq!(woken.get(), 0);
    // The other input waits for nobody: nothing of it is unread.
    assert!(dataflow.arrange(1));
    assert!(dataflow.join(1));
    assert_eq!(woken.get(), 1);
    assert_eq!(dataflow.shown[1], [HashMap::from([(values([1, 5, 0, 0]), 1)])]);
    dataflow.run(&[]);
    let pairs = [values([1, 5, 1, 7]), values([1, 6, 1, 7])].map(|row| (row, 1));
    assert_eq!(dataflow.shown[0][1], HashMap::from(pairs));
}

#[test]
fn rows_are_held_once_however_many_read_them() {
    let held = |readers: usize| {
        let reader = Reader { kind: JoinKind::Inner, residual: false, inputs: [0, 1] };
        let rows = (0..10_000).map(|i| row(i, i)).collect();
        let epochs = [[rows, vec![], vec![]]];
        let mut dataflow = Dataflow::new(&vec![reader; readers], [false; INPUTS], &epochs);
        dataflow.run(&[]);
        let arranged = dataflow.arranges.iter().map(|(arrange, _)| arrange.state_bytes());
        let joins = dataflow.readers.iter().map(|(_, join, _)| join.state_bytes());
        arranged.chain(joins).sum::<usize>()
    };
    assert_eq!(held(1), held(3));
}
