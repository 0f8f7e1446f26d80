//! `factory`.

use super::{record, run};

fn state(at: &str, state: &str, reason: &str) -> String {
    let reason = if reason.is_empty() { "null".to_owned() } else { format!("\"{reason}\"") };
    record(at, &format!(r#""machine_id":"m1","state":"{state}","reason":{reason}"#))
}

fn made(at: &str, good: u64, scrap: u64) -> String {
    let pieces = format!(r#""good":{good},"scrap":{scrap},"ideal_cycle_s":2.5"#);
    record(at, &format!(r#""machine_id":"m1",{pieces}"#))
}

#[test]
fn effectiveness_is_cut_at_the_hour_and_a_night_belongs_to_the_day_on_which_it_began() {
    let states = [
        state("2028-02-28 22:00:00", "running", ""),
        state("2028-02-28 22:40:00", "planned", "break"),
        state("2028-02-28 22:50:00", "down", "jam"),
        state("2028-02-28 23:00:00", "running", ""),
        // Over midnight: half of it in each of two days, and all of it in one night.
        state("2028-02-28 23:30:00", "running", ""),
        state("2028-02-29 00:30:00", "running", ""),
        // More than an hour of silence is no time at all.
        state("2028-02-29 06:00:00", "running", ""),
        state("2028-02-29 06:30:00", "running", ""),
    ];
    let retried = made("2028-02-28 22:30:00", 720, 0);
    let production = [
        retried.clone(),
        retried,
        made("2028-02-28 22:59:59.999", 90, 90),
        made("2028-02-29 06:10:00", 0, 0),
    ];
    let done = run("factory", &[("machine_states", &states), ("production", &production)]);
    let expected = [
        // Planned 50 min, run 40: 0.8; 900 pieces of 2.5 s in 2400 s; 810 of 900 are good.
        "m1, 2028-02-28T22:00, night, 2028-02-28, 3000, 2400, 810, 90, 0.8000, 0.9375, 0.9000, 0.6750",
        "m1, 2028-02-28T23:00, night, 2028-02-28, 3600, 3600, 0, 0, 1.0000, 0.0000, null, null",
        "m1, 2028-02-29T00:00, night, 2028-02-28, 1800, 1800, 0, 0, 1.0000, 0.0000, null, null",
        "m1, 2028-02-29T06:00, early, 2028-02-29, 1800, 1800, 0, 0, 1.0000, 0.0000, null, null",
    ];
    assert_eq!(done.rows("oee"), expected);
}

#[test]
fn a_downtime_lasts_over_signs_of_life_until_the_reason_or_the_state_changes() {
    let down = state("2026-01-05 23:50:00", "down", "jam");
    let states = [
        state("2026-01-05 23:00:00", "running", ""),
        down.clone(),
        down,
        state("2026-01-05 23:55:00", "down", "jam"),
        state("2026-01-06 00:05:00", "down", "power"),
        state("2026-01-06 00:06:00", "running", ""),
        // Not over yet.
        state("2026-01-06 00:10:00", "down", "jam"),
    ];
    let done = run("factory", &[("machine_states", &states)]);
    let expected = [
        "m1, jam, 2026-01-05T23:50:00Z, 2026-01-06T00:05:00Z, 900",
        "m1, power, 2026-01-06T00:05:00Z, 2026-01-06T00:06:00Z, 60",
    ];
    assert_eq!(done.rows("downtime"), expected);
}

#[test]
fn a_reading_is_out_of_line_by_those_of_its_own_ten_minutes() {
    let reading = |at: String, value: &str| {
        record(&at, &format!(r#""machine_id":"m1","sensor":"heat","value":{value}"#))
    };
    let at = |second: u32| format!("2026-01-05 08:{:02}:{:02}", second / 60, second % 60);
    let mut readings: Vec<String> =
        (0..40).map(|n| reading(at(n), if n % 2 == 0 { "10" } else { "12" })).collect();
    readings.push(reading(at(40), "100"));
    // Ten minutes later the same value stands alone, and is nothing to compare with.
    readings.push(reading(at(700), "100"));
    let done = run("factory", &[("sensor_readings", &readings)]);
    // 40 readings of mean 11 and the one of 100: mean 540 / 41, deviation of 41 readings.
    let expected = ["m1, heat, 2026-01-05T08:00:40Z, 100.000, 13.171, 13.935, 6.231"];
    assert_eq!(done.rows("anomalies"), expected);
}
