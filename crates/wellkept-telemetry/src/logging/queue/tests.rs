//! The queue against a simple model of it, and the room of each level.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const CLASSES: [Class; 4] = [Class::Chatter, Class::Ordinary, Class::Warning, Class::Severe];

#[derive(Debug, Clone)]
enum Step {
    /// So many lines of that class and length are logged.
    Push(Class, usize, usize),
    /// The writer takes a block, if it has none in its hand.
    Take,
    /// So many bytes of the block are done with, so many lines of these lost.
    Settle(usize, u64),
    /// The disk takes what waits for it, but for so many lines.
    Disk(usize),
    /// The disk offers what it holds.
    Offer,
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    let class = proptest::sample::select(CLASSES.to_vec());
    prop_oneof![
        6 => (class, 1..2000_usize, 2..4000_usize).prop_map(|(class, lines, bytes)| Step::Push(class, lines, bytes)),
        4 => Just(Step::Take),
        6 => (0..100_000_usize, 0..5_u64).prop_map(|(bytes, failed)| Step::Settle(bytes, failed)),
        2 => (0..3_usize).prop_map(Step::Disk),
        2 => Just(Step::Offer),
        1 => Just(Step::Abandon),
    ]
}

/// What is known of the lines from outside.
#[derive(Default)]
struct Model {
    accepted: u64,
    /// The numbers of the lines in the queue, in the writer's hand, on the way to the disk, and on it.
    queue: VecDeque<(u64, usize, Class)>,
    hand: Vec<u8>,
    waiting: usize,
    disk: Vec<u8>,
    lost: u64,
}

fn line(number: u64, bytes: usize) -> Vec<u8> {
    format!("{:0>width$}\n", number % 10, width = bytes - 1).into_bytes()
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_at_every_step_and_lines_come_out_whole_and_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let mut queue = Queue::new(Some(Aside::default()));
        let (mut model, mut block, mut written) = (Model::default(), Block::default(), 0);
        for step in steps {
            match step {
                Step::Push(class, lines, bytes) => for _ in 0..lines {
                    let line = line(model.accepted, bytes);
                    queue.books.accepted += 1;
                    if queue.admit(&line, class) {
                        model.queue.push_back((model.accepted, bytes, class));
                    } else {
                        prop_assert_eq!(queue.refuse(&line, class) , class.is_important() && {
                            model.waiting += bytes;
                            model.waiting <= 1 << 20 || { model.waiting -= bytes; false }
                        });
                    }
                    model.accepted += 1;
                },
                Step::Take => if block.rest().is_empty() && queue.take(&mut block) && block.source() == Source::Queue {
                    let expected: Vec<u8> = model.queue.drain(..block.lines()).flat_map(|(number, bytes, _)| line(number, bytes)).collect();
                    prop_assert_eq!(block.rest(), expected.as_slice());
                    prop_assert!(block.len() <= BLOCK_BYTES || block.lines() == 1);
                    model.hand = expected;
                },
                Step::Settle(bytes, failed) => {
                    let (bytes, before) = (bytes.min(block.rest().len()), queue.books.written);
                    let whole = block.len() - block.rest().len();
                    queue.settle(&mut block, Written { bytes, failed, ..Written::default() });
                    if block.source() == Source::Queue {
                        let ended = count(&model.hand[..whole + bytes]) - count(&model.hand[..whole]);
                        prop_assert_eq!(queue.books.written - before, ended - failed.min(ended));
                    }
                    written = queue.books.written;
                }
                Step::Disk(lost) => if let Some(aside) = &mut queue.aside && let Some(lines) = aside.take_waiting() {
                    model.waiting = 0;
                    let lost = lost.min(lines.len());
                    let kept = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).rev().nth(lost);
                    let (kept, gone) = lines.split_at(kept.unwrap_or(0));
                    model.disk.extend_from_slice(kept);
                    aside.lose(count(gone));
                    queue.books.dropped.add(Loss::SpillFull, count(gone));
                    model.lost += count(gone);
                },
                Step::Offer => if let Some(aside) = &mut queue.aside && !model.disk.is_empty() && !aside.is_offered() {
                    aside.make_offer(std::mem::take(&mut model.disk));
                },
                Step::Abandon => {
                    queue.abandon(Some(&mut block));
                    prop_assert!(model.queue.iter().all(|(_, _, class)| class.is_important()) || queue.books.dropped.closing > 0);
                                                            prop_assert!(queue.books().balance(), "{:?}", queue.books());
                    break;
                }
            }
            let books = queue.books();
            prop_assert!(books.balance(), "{:?}", books);
            prop_assert_eq!(books.accepted, model.accepted);
            prop_assert!(books.written >= written && books.dropped.spill_full >= model.lost);
        }
    }
}

#[test]
fn each_level_leaves_room_for_those_above_it() {
    let mut queue = Queue::new(None);
    let mut all = 0;
    for (class, eighths) in CLASSES.into_iter().zip([4, 6, 7, 8]) {
        while queue.admit(b"line\n", class) {
            all += 1;
        }
        assert_eq!(all, MAX_QUEUED_LINES * eighths / 8, "{class:?}");
    }
    let mut queue = Queue::new(None);
    let long = [b'x'; 16 << 10];
    let mut all = 0;
    for (class, eighths) in CLASSES.into_iter().zip([4, 6, 7, 8]) {
        while queue.admit(&long, class) {
            all += long.len();
        }
        assert_eq!(all, MAX_QUEUED_BYTES * eighths / 8, "{class:?}");
    }
}

#[test]
fn a_line_that_is_out_in_part_is_not_put_aside_as_well() {
    let mut queue = Queue::new(Some(Aside::default()));
    let mut block = Block::default();
    queue.books.accepted += 3;
    for line in ["first\n", "second\n", "third\n"] {
        assert!(queue.admit(line.as_bytes(), Class::Severe));
    }
    assert!(queue.take(&mut block));
    queue.settle(&mut block, Written { bytes: "first\nsec".len(), ..Written::default() });
    queue.abandon(Some(&mut block));
    let books = queue.books();
    assert_eq!((books.written, books.dropped.closing, books.pending), (1, 1, 1));
    assert_eq!(queue.aside.and_then(|mut aside| aside.take_waiting()), Some(b"third\n".to_vec()));
}
