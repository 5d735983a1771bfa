//! What the child says is hostile, as all that is read; measuring for real needs root.

use super::*;
use crate::{
    probe::programs::{Links, Settings},
    target::allocator::FUNCTIONS,
};

/// No test of its own: the other tests start it as their child.
#[test]
fn the_child() {
    run_child_if_asked();
}

/// A test program says something by itself before it comes to the child's part.
fn test_child() -> Command {
    let mut command = Command::new(OURSELVES);
    command.args(["--exact", "probe::calibration::tests::the_child", "--nocapture"]).env(ASKED, "1");
    command
}

#[test]
fn a_round_is_exactly_one_number_a_step() {
    assert_eq!(parse(b"1 2 3 4 5 6 7 8 9\n"), Some([1, 2, 3, 4, 5, 6, 7, 8, 9]));
    for line in [
        "".as_bytes(),
        b"\n",
        b"1 2 3 4 5 6 7 8\n",
        b"1 2 3 4 5 6 7 8 9 10\n",
        b"1 2 3 4 5 6 7 8 -9\n",
        b"1 2 3 4 5 6 7 8 18446744073709551616\n",
        b"1 2 3 4 5 6 7 8 \xff\n",
    ] {
        assert_eq!(parse(line), None, "{line:?}");
    }
}

#[test]
fn only_sane_costs_make_prices() {
    let rounds = |ns: u64| vec![[ns * CALLS; STEPS.len()]; 3];
    let costs = |bare, probed| Costs::of(&rounds(bare), &rounds(probed));
    assert!(costs(2, 802).prices(Returns::ReturnProbes, true).unwrap().calibrated);
    assert!(costs(2, 3).prices(Returns::ReturnProbes, false).is_err(), "no probe was hit");
    assert!(costs(9, 3).prices(Returns::ReturnProbes, false).is_err());
    assert!(costs(0, u64::MAX / CALLS).prices(Returns::ReturnProbes, false).is_err());
    assert!(Costs::of(&[], &[]).prices(Returns::PlainProbes, false).is_err());
}

#[test]
fn prices_are_differences() {
    let costs = || Costs([1990, 400, 2010, 800, 6000, 4300, 700, 1100, 750]);
    let prices = costs().prices(Returns::ReturnProbes, true).unwrap();
    assert_eq!((prices.nop5_ns, prices.emulated_ns, prices.single_step_ns), (400, 800, 4300));
    assert_eq!((prices.return_ns, prices.ret_ns), (1200, 900));
    assert_eq!(prices.passed, Some(Passed { free_ns: -50, leaf_ns: -100, inner_ns: 300 }));
    let prices = costs().prices(Returns::PlainProbes, false).unwrap();
    assert_eq!((prices.return_ns, prices.passed), (Prices::ESTIMATES.return_ns, None));
}

#[test]
fn a_child_that_says_something_else_is_no_calibration() {
    for script in
        ["true", "yes", "cat /dev/zero", "echo ready for rounds; yes", "echo ready for rounds; echo 1 2"]
    {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let round = Calibrated::start(command).and_then(|mut child| child.round());
        assert!(round.is_err(), "{script}: {round:?}");
    }
    assert!(Calibrated::start(Command::new("/nonexistent")).is_err());
}

#[test]
fn the_functions_are_what_probes_expect() {
    assert!(FUNCTIONS.len() <= usize::from(FUNCTION), "the number of no function");
    for code in [Code::Nop5, Code::Emulated, Code::SingleStep, Code::Leaf, Code::Inner, Code::Plain] {
        assert_eq!(code.address() % 16, 0);
        file_offset(code.address()).unwrap();
        code.call(1 << 32, 0, 3);
        code.call(1 << 32, 0, 0);
    }
}

#[test]
fn a_calibration_leaves_nothing_behind() {
    for (sample, min_size) in [(0, 0), (512 << 10, 0), (0, 64)] {
        let settings = Settings { max_stacks: 1, min_size, sample, ..Settings::bare(RING, Links::Best) };
        let mut programs = match Programs::load(&settings) {
            Ok(programs) => programs,
            Err(failure) => return println!("SKIPPED: {failure}"),
        };
        for returns in [Returns::ReturnProbes, Returns::PlainProbes] {
            let prices = measure(test_child(), &mut programs, returns);
            println!("{sample}, {min_size}, {returns:?}: {prices:?}");
            // There is room for one stack, and it is the next child's after this one.
            assert_eq!(programs.losses().iter().sum::<u64>(), 0, "no losses");
            programs.discard(PROCESS);
        }
        let (mut rings, _) = programs.take_rings().unwrap();
        let ring = &mut rings.rings[0];
        assert!(ring.next().is_none(), "no record");
    }
}
