use std::collections::BTreeMap;

use super::*;
use crate::bundle_status::{BundleState, BundleStatus, ConfigurationTrust};
use crate::ca_set::PreviousCa;
use crate::certificate_authority::CaCertificate;

const LIFE: Duration = Duration::from_secs(30);
const TIMINGS: CertificateTimings = CertificateTimings {
    ca_life: LIFE,
    serving_life: Duration::from_secs(10),
    publish_wait: Duration::from_secs(5),
    level_check: Duration::from_secs(2),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn first() -> CaSet {
    CaSet::of(CertificateAuthority::generate(LIFE, at(0)).unwrap())
}

/// With a successor made then.
fn published(before: &CaSet, now: i64) -> CaSet {
    before.with_next(before.current.successor(LIFE, at(now)).unwrap())
}

fn rotated(before: &CaSet, now: i64) -> CaSet {
    published(before, now).with_next_published(at(now)).switched(at(now))
}

/// Without the previous CAs.
fn alone(set: &CaSet) -> CaSet {
    CaSet { previous: Vec::new(), ..set.clone() }
}

fn decided(found: &CaSet, in_use: &CaSet, now: i64) -> Decision {
    decide(&Contents::Usable(found.clone()), Some(in_use), at(now))
}

const PUT_BACK: Decision = Decision::Correct { cause: Cause::UnexpectedCa, correction: Correction::PutBack };
const TAKE_AS_NEXT: Decision = Decision::Correct { cause: Cause::LaterCa, correction: Correction::TakeAsNext };

#[test]
fn the_cas_in_the_secret_are_followed_put_back_or_taken_as_next() {
    let in_use = rotated(&first(), 1);
    let [lower, higher] = [first(), alone(&rotated(&rotated(&first(), 1), 2))];
    let expired = CaSet::of(in_use.current.successor(Duration::from_secs(1), at(1)).unwrap());
    let future = CaSet::of(in_use.current.successor(LIFE, at(2 * 60 * 60)).unwrap());
    let ours = PreviousCa { certificate: in_use.current.certificate().clone(), switched: at(1) };
    let listing_ours = |set: &CaSet| CaSet { previous: vec![ours.clone()], ..set.clone() };
    let next = rotated(&in_use, 3);
    let joined = lower.with_next_from(&in_use, at(1));
    let fourth = rotated(&rotated(&rotated(&in_use, 1), 1), 1);
    let before_fourth = in_use.with_next_from(&fourth, at(1));
    for (case, found, in_use, expected) in [
        ("the same", &in_use, &in_use, Decision::Follow),
        ("the CA in use was rotated", &next, &in_use, Decision::Follow),
        ("the rotation is undone", &alone(&in_use), &next, PUT_BACK),
        ("an earlier CA", &lower, &in_use, PUT_BACK),
        ("a CA that is not valid yet and lists ours as previous", &listing_ours(&future), &in_use, PUT_BACK),
        ("an expired CA that lists ours as previous", &listing_ours(&expired), &in_use, PUT_BACK),
        ("a later CA", &higher, &in_use, TAKE_AS_NEXT),
        ("another CA of the same generation", &alone(&rotated(&first(), 1)), &in_use, TAKE_AS_NEXT),
        ("one before the next CA, by which others may sign", &higher, &before_fourth, PUT_BACK),
        ("a later CA that has expired", &expired, &in_use, PUT_BACK),
        ("a later CA that is not valid yet", &future, &in_use, PUT_BACK),
        ("an earlier CA, whose replica has taken the one in use as next", &joined, &in_use, Decision::Follow),
        ("the CA in use has expired", &lower, &expired, Decision::Follow),
        ("the CA in use is not valid yet", &lower, &future, Decision::Follow),
    ] {
        assert_eq!(decided(found, in_use, 10), expected, "{case}");
    }
}

const REVOKED: Decision = Decision::Correct { cause: Cause::RevokedCa, correction: Correction::PutBack };
const NEW_CA: Decision = Decision::Correct { cause: Cause::RevokedCa, correction: Correction::NewCa };
const REVOKE: Decision = Decision::Correct { cause: Cause::RevokedCa, correction: Correction::Revoke };

#[test]
fn a_revocation_is_followed_at_once_and_never_undone() {
    let stolen = rotated(&rotated(&first(), 1), 2);
    let rotating = published(&stolen, 3);
    let revoked = rotating.revoke(LIFE, at(4)).unwrap();
    let again = revoked.revoke(LIFE, at(5)).unwrap();
    let taken_as_next = CaSet { revoked: 0, ..stolen.with_next_from(&revoked, at(5)) };
    let unmarked = CaSet { revoked: 0, ..revoked.clone() };
    // As if a backup was applied over the Secret, which leaves the key that the backup lacks.
    let merged = CaSet { revoked: revoked.revoked, ..alone(&stolen) };
    let far_ahead = (1..=9).fold(first(), |set, second| rotated(&set, second));
    for (case, found, in_use, now, expected) in [
        ("the CA in use is revoked", &revoked, Some(&stolen), 10, Decision::Follow),
        ("it is revoked during a rotation", &revoked, Some(&rotating), 10, Decision::Follow),
        ("a second revocation", &again, Some(&revoked), 10, Decision::Follow),
        ("the replica was paused during the first one", &again, Some(&stolen), 10, Decision::Follow),
        ("the CA in use is of a later generation", &revoked, Some(&far_ahead), 10, Decision::Follow),
        ("a replica that starts", &revoked, None, 10, Decision::Follow),
        ("as before", &revoked, Some(&revoked), 10, Decision::Follow),
        ("a rotation after it", &rotated(&revoked, 6), Some(&revoked), 10, Decision::Follow),
        ("a backup from before it", &stolen, Some(&revoked), 10, REVOKED),
        ("a backup from between two", &revoked, Some(&again), 10, REVOKED),
        ("a replica of an earlier version took the new CA as next", &taken_as_next, Some(&revoked), 10, REVOKED),
        ("a replica of an earlier version wrote the new CA alone", &unmarked, Some(&revoked), 10, Decision::Follow),
        ("a backup, and the new CA has expired", &stolen, Some(&revoked), 34, NEW_CA),
        ("a backup that was merged with the marker", &merged, Some(&revoked), 10, REVOKED),
        ("the same at the start", &merged, None, 10, REVOKE),
        ("the same where the CA in use is revoked", &merged, Some(&stolen), 10, REVOKE),
    ] {
        assert_eq!(decide(&Contents::Usable(found.clone()), in_use, at(now)), expected, "{case}");
    }
}

#[test]
fn a_secret_without_a_usable_ca_gets_the_one_in_use_or_a_new_one() {
    let why = UnusableCa::NoKey;
    let in_use = first();
    let unusable = |correction| Decision::Correct { cause: Cause::Unusable(UnusableCa::NoKey), correction };
    let emptied = |correction| Decision::Correct { cause: Cause::Emptied, correction };
    let damaged = || Contents::Unusable(why.clone());
    for (case, contents, in_use, now, expected) in [
        ("the first start", Contents::Empty, None, 0, Decision::Fill),
        ("emptied", Contents::Empty, Some(&in_use), 1, emptied(Correction::PutBack)),
        ("emptied, and the CA in use has expired", Contents::Empty, Some(&in_use), 30, emptied(Correction::NewCa)),
        ("damaged at the first start", damaged(), None, 0, unusable(Correction::NewCa)),
        ("damaged", damaged(), Some(&in_use), 1, unusable(Correction::PutBack)),
        ("damaged, and the CA has expired", damaged(), Some(&in_use), 30, unusable(Correction::NewCa)),
    ] {
        assert_eq!(decide(&contents, in_use, at(now)), expected, "{case}");
    }
}

/// Replicas that use different CAs write the Secret in turns until all of them follow it.
#[test]
fn replicas_with_different_cas_agree_after_a_few_writes() {
    let (early, late) = (first(), alone(&rotated(&first(), 1)));
    for (case, mut replicas) in [
        ("one generation", [first(), first(), first()]),
        ("two generations", [early.clone(), late, early]),
        ("each in a rotation", [(); 3].map(|()| published(&first(), 1))),
    ] {
        let signing: Vec<CaCertificate> = replicas.iter().map(|set| set.current.certificate().clone()).collect();
        let mut secret = replicas[0].clone();
        let mut writes = 0;
        // Twice around without a write: all agree.
        let mut quiet = 0;
        for index in (0..replicas.len()).cycle() {
            match decided(&secret, &replicas[index], 5) {
                Decision::Follow => {
                    replicas[index] = secret.clone();
                    quiet += 1;
                }
                Decision::Correct { correction: Correction::PutBack, .. } => {
                    (secret, quiet) = (replicas[index].clone(), 0);
                }
                Decision::Correct { .. } => (secret, quiet) = (replicas[index].with_next_from(&secret, at(5)), 0),
                Decision::Fill => unreachable!("the Secret is not empty"),
            }
            writes += usize::from(quiet == 0);
            assert!(writes <= 2 * replicas.len(), "{case}: the replicas go on overwriting each other");
            if quiet == 2 * replicas.len() {
                break;
            }
        }
        for certificate in &signing {
            assert!(secret.contains(certificate), "{case}: each CA by which a replica served is still trusted");
        }
    }
}

/// How late an API server learns of a bundle.
const LAG: i64 = 4;

/// Rotates by the decisions of one replica, second by second, and returns the first moment at which an API server with the
/// given lag would reject a serving certificate that a replica may use. `trusted` is the bundle that the API server reads.
fn first_rejection(timings: &CertificateTimings, trusted: impl Fn(&CaSet) -> String) -> Option<i64> {
    let started = Instant::now();
    let mut set = first();
    let mut publication = CaPublication::default();
    let mut signing: Option<Arc<CertificateAuthority>> = None;
    let (mut read_back, mut generation) = (String::new(), 0);
    let mut bundles: BTreeMap<i64, String> = BTreeMap::new();
    // Serving certificates by the second of their signature: another replica may renew late.
    let mut signed: BTreeMap<i64, CaCertificate> = BTreeMap::new();
    for second in 0..90 {
        let instant = started + Duration::from_secs(u64::try_from(second).unwrap());
        let now = Moment { time: at(second), instant };
        let bundle = set.bundle();
        let trust = ConfigurationTrust {
            ca_bundle: read_back.as_str().into(),
            server_names: Vec::new(),
            generation: Some(generation),
        };
        let status = BundleStatus { mutating: Some(BundleState::InSync(trust)), validating: None };
        publication.observe(&bundle, &status, now.instant);
        let ca = signing_ca(&set, signing.as_ref(), &publication, timings.publish_wait, now);
        signed.insert(second, ca.certificate().clone());
        signing = Some(ca);
        bundles.insert(second, trusted(&set));
        let serving_life = i64::try_from(timings.serving_life.as_secs()).unwrap();
        let mut served = signed.range(second - serving_life + 1..).map(|(_, ca)| ca);
        // A serving certificate does not outlive its CA.
        if served.any(|ca| {
            !ca.has_expired(now.time) && bundles.range(second - LAG..).any(|(_, bundle)| !bundle.contains(ca.pem()))
        }) {
            return Some(second);
        }
        if let RotationPlan::Take(step) = next_step(&set, status.is_published(&bundle), &publication, timings, now) {
            set = match step {
                RotationStep::Publish => set.with_next(set.current.successor(timings.ca_life, at(second)).unwrap()),
                RotationStep::MarkPublished => set.with_next_published(at(second)),
                RotationStep::Switch => set.switched(at(second)),
                RotationStep::Retire => set.retired(timings.serving_life, at(second)),
                RotationStep::Restart => panic!("second {second}: the CA expired"),
            };
        }
        if read_back != set.bundle() {
            (read_back, generation) = (set.bundle(), generation + 1);
        }
    }
    assert!(set.current.certificate().generation() >= 4, "it has rotated");
    None
}

#[test]
fn no_serving_certificate_is_rejected_during_rotations() {
    assert_eq!(first_rejection(&TIMINGS, CaSet::bundle), None);
}

/// Shows that the simulation above can fail.
#[test]
fn without_the_overlap_or_the_wait_a_serving_certificate_is_rejected() {
    let signing_only = |set: &CaSet| set.current.certificate().pem().to_owned();
    assert!(first_rejection(&TIMINGS, signing_only).is_some(), "the bundle contains the current CA only");
    let without_next = |set: &CaSet| CaSet { next: None, ..set.clone() }.bundle();
    assert!(first_rejection(&TIMINGS, without_next).is_some(), "the next CA is published at the switch");
    let without_previous = |set: &CaSet| alone(set).bundle();
    assert!(first_rejection(&TIMINGS, without_previous).is_some(), "the previous CA is retired at the switch");
    let without_wait = CertificateTimings { publish_wait: Duration::ZERO, ..TIMINGS };
    assert!(first_rejection(&without_wait, CaSet::bundle).is_some(), "the switch does not wait");
}
