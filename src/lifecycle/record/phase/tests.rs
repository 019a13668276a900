use super::*;
use crate::lifecycle::record::tests::attachment;

/// One method of a phase, and the phase that it leads to.
type Transition = (PhaseName, fn(&mut Phase, &Made) -> Result<(), InvalidTransition>);

const TRANSITIONS: [Transition; 5] = [
    (PhaseName::Spare, |phase, made| phase.keep_ready(made.clone(), Prepared::default())),
    // One way for each kind of attachment.
    (PhaseName::Staged, |phase, made| phase.claim().or_else(|_| phase.stage(made.clone()))),
    (PhaseName::Joined, |phase, _| phase.join(Joining::at("/run/sandbox".into()))),
    (PhaseName::Settled, |phase, made| phase.settle(made.users.clone())),
    (PhaseName::Deleting, |phase, _| {
        phase.delete(|_, _| ());
        Ok(())
    }),
];

#[test]
fn a_phase_is_followed_by_those_in_the_table_and_by_no_other() {
    let staged = attachment(PhaseName::Staged);
    let made = staged.phase.made().unwrap();
    for from in PhaseName::ALL {
        for (to, transition) in &TRANSITIONS {
            let mut phase = attachment(from).phase;
            assert_eq!(phase.name(), from);
            let outcome = transition(&mut phase, made);
            // An attachment that is already to be deleted stays so.
            let stays = (from, *to) == (PhaseName::Deleting, PhaseName::Deleting);
            match from.next().contains(to) || stays {
                true => assert_eq!((outcome, phase.name()), (Ok(()), *to)),
                false => {
                    let refusal = Err(InvalidTransition { from, to: *to });
                    assert_eq!((outcome, phase.name()), (refusal, from));
                }
            }
        }
    }
}

#[test]
fn what_a_removal_has_to_take_back_is_what_the_phase_before_it_had() {
    for (from, made, joined) in [
        (PhaseName::Adding, false, false),
        (PhaseName::Spare, true, false),
        (PhaseName::Staged, true, false),
        (PhaseName::Joined, true, true),
        (PhaseName::Settled, true, true),
    ] {
        let looked_at = joined || from == PhaseName::Spare;
        let before = attachment(from);
        let mut phase = before.phase.clone();
        phase.delete(|removal, _| removal.attempts = 3);
        // A second time: the removal does not start anew.
        phase.delete(|_, _| ());
        let (removal, left) = phase.deleting().unwrap();
        assert_eq!(removal.attempts, 3, "{from}");
        assert_eq!((left.result.is_some(), left.snapshot.is_some()), (made, made), "{from}");
        assert_eq!((left.settings.is_some(), left.sandbox.is_some()), (looked_at, joined));
        assert_eq!(left.sandbox.as_deref(), before.sandbox(), "{from}");
        assert_eq!(left.result.as_ref(), before.result(), "{from}");
        assert_eq!(left.host_side.as_ref(), before.host_side(), "{from}");
        assert_eq!(left.host_side.is_some(), looked_at, "{from}");
    }
}

#[test]
fn a_spare_keeps_what_was_found_out_ahead_until_join() {
    let spare = attachment(PhaseName::Spare);
    let mut phase = spare.phase.clone();
    phase.claim().unwrap();
    let prepared = phase.prepared().unwrap();
    assert_eq!(prepared.host_side.as_ref(), spare.host_side());
    assert_eq!(Some(&*prepared.settings), spare.settings());
    phase.join(Joining::at("/run/sandbox".into())).unwrap();
    assert!(phase.prepared().is_none());
}
