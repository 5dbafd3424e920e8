//! A deterministic scheduler: of some threads one runs at a time, and whose turn is next is drawn by a seeded generator each
//! time that a thread is about to take the directory's lock. What happens between two locks happens at once, as it does for
//! everyone who looks at the directory.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

thread_local! {
    static ME: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// What a thread does.
pub(super) type Actor<'a> = Box<dyn FnOnce() + Send + 'a>;

struct Turns {
    state: Mutex<State>,
    changed: Vec<Condvar>,
}

struct State {
    random: StdRng,
    waiting: BTreeSet<usize>,
    alive: usize,
    running: Option<usize>,
}

/// A thread's place among the others.
struct Turn {
    turns: Arc<Turns>,
    me: usize,
}

/// Runs all to their ends, in an order that depends on nothing but `seed`.
pub(super) fn run(seed: u64, actors: Vec<Actor<'_>>) {
    let state = State {
        random: StdRng::seed_from_u64(seed),
        waiting: BTreeSet::new(),
        alive: actors.len(),
        running: None,
    };
    let changed = actors.iter().map(|_| Condvar::new()).collect();
    let turns = Arc::new(Turns { state: Mutex::new(state), changed });
    std::thread::scope(|scope| {
        for (me, actor) in actors.into_iter().enumerate() {
            let turn = Turn { turns: turns.clone(), me };
            scope.spawn(move || {
                turn.wait();
                ME.set(Some(turn));
                actor();
                // Gives the turn up for good, also when the actor panics: see Drop.
                ME.set(None);
            });
        }
    });
}

/// Lets others go first, if that is what is drawn. Does nothing on a thread that is not one of [`run`].
pub(in crate::directory) fn pass() {
    ME.with_borrow(|turn| {
        if let Some(turn) = turn {
            turn.wait();
        }
    });
}

impl Turn {
    /// Gives the turn up, and waits until it comes again.
    fn wait(&self) {
        let mut state = self.lock();
        state.waiting.insert(self.me);
        self.draw(&mut state);
        while state.running != Some(self.me) {
            state = self.turns.changed[self.me].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Once all wait, one of them may run.
    fn draw(&self, state: &mut State) {
        state.running = None;
        if state.alive == 0 || state.waiting.len() < state.alive {
            return;
        }
        let drawn = state.random.random_range(0..state.waiting.len());
        let next = state.waiting.iter().nth(drawn).copied().expect("one of those who wait");
        state.waiting.remove(&next);
        state.running = Some(next);
        self.turns.changed[next].notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.turns.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.alive -= 1;
        self.draw(&mut state);
    }
}

#[test]
fn one_runs_at_a_time_and_a_seed_gives_one_order() {
    let order = |seed| {
        let order = Mutex::new(Vec::new());
        let inside = Mutex::new(());
        let actors = (0..4).map(|me| -> Actor<'_> {
            Box::new({
                let (order, inside) = (&order, &inside);
                move || {
                    for _ in 0..5 {
                        let alone = inside.try_lock().expect("one at a time");
                        order.lock().unwrap().push(me);
                        drop(alone);
                        pass();
                    }
                }
            })
        });
        run(seed, actors.collect());
        order.into_inner().unwrap()
    };
    assert_eq!(order(1), order(1));
    let orders: BTreeSet<_> = (0..100).map(order).collect();
    assert!(orders.len() > 90, "{} different orders of 100", orders.len());
}
