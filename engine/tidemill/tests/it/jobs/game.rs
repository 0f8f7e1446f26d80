//! `leaderboard`.

use super::{record, run};

fn catch(at: &str, player: &str, ball: u64, points: i64) -> String {
    let fields = format!(
        r#""player_id":"{player}","ball_id":{ball},"rarity":"common","points":{points},"region":"africa","lat":1.5,"lon":-2.5"#
    );
    record(at, &fields)
}

fn player(id: &str, before: Option<&str>, after: &str) -> String {
    let row = |nickname: &str| format!(r#"{{"player_id":"{id}","nickname":"{nickname}"}}"#);
    let (op, before) = match before {
        None => ("c", "null".to_owned()),
        Some(before) => ("u", row(before)),
    };
    format!(r#"{{"before":{before},"after":{},"op":"{op}"}}"#, row(after))
}

#[test]
fn equal_points_are_ranked_by_id_and_a_retry_counts_once() {
    let twice = catch("2028-02-29 23:59:59.999", "p-2", 1, 10);
    let catches = [
        twice.clone(),
        twice,
        catch("2028-02-29 23:59:00", "p-1", 2, 10),
        // Another minute, and another day.
        catch("2028-03-01 00:00:00", "p-3", 3, 10),
        catch("2028-03-01 00:00:00", "p-3", 4, 5),
    ];
    let players =
        [player("p-3", None, "old"), player("p-3", Some("old"), "new"), player("p-1", None, "one")];
    let done = run("leaderboard", &[("catches", &catches), ("players", &players)]);
    let best = ["1, p-3, new, 15, 2", "2, p-1, one, 10, 1", "3, p-2, null, 10, 1"];
    assert_eq!(done.rows("top_players"), best);
    let minutes = [
        "2028-02-29T23:59, africa, 1, p-1, 10, 1",
        "2028-02-29T23:59, africa, 2, p-2, 10, 1",
        "2028-03-01T00:00, africa, 1, p-3, 15, 2",
    ];
    assert_eq!(done.rows("top_by_minute"), minutes);
    assert_eq!(done.rows("player_scores"), ["p-1, 10, 1", "p-2, 10, 1", "p-3, 15, 2"]);
}
