//! Functions over arrays and maps.
//!
//! Most of them choose elements: they say which, by index into all the elements of all rows, and
//! one gather makes the result. Elements are compared by arrow's row format, so any type goes
//! and NULL equals NULL.

use super::conditional::common_type;
use super::function::{
    Definition, Kind, Shape, Takes, gives_boolean, gives_first, gives_int, gives_text,
    sql_type_name,
};
use super::values::Call;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use Kind::{Array as List, Boolean, Collection, Integer, Map, Text};

const LIST: Takes = Takes::Fixed(&[List], &[]);
const WITH_ELEMENT: Takes = Takes::Custom(coerce_element);
const LISTS: Takes = Takes::Custom(coerce_lists);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("CARDINALITY", Takes::Fixed(&[Collection], &[]), gives_int, cardinality),
    Definition::new("ITEM", Takes::Custom(coerce_item), gives_item, item),
    Definition::new("ELEMENT", LIST, gives_element, element),
    Definition::new("ARRAY_CONTAINS", WITH_ELEMENT, gives_boolean, array_contains),
    Definition::new("ARRAY_POSITION", WITH_ELEMENT, gives_int, array_position),
    Definition::new("ARRAY_REMOVE", WITH_ELEMENT, gives_first, array_remove),
    Definition::new("ARRAY_APPEND", WITH_ELEMENT, gives_first, array_append),
    Definition::new("ARRAY_PREPEND", WITH_ELEMENT, gives_first, array_prepend),
    Definition::new("ARRAY_DISTINCT", LIST, gives_first, array_distinct),
    Definition::new("ARRAY_REVERSE", LIST, gives_first, array_reverse),
    Definition::new(
        "ARRAY_SORT",
        Takes::Fixed(&[List], &[Boolean, Boolean]),
        gives_first,
        array_sort,
    ),
    Definition::new(
        "ARRAY_SLICE",
        Takes::Fixed(&[List, Integer], &[Integer]),
        gives_first,
        array_slice,
    ),
    Definition::new("ARRAY_MAX", LIST, gives_element, array_max),
    Definition::new("ARRAY_MIN", LIST, gives_element, array_min),
    Definition::new("ARRAY_CONCAT", LISTS, gives_first, array_concat),
    Definition::new("ARRAY_UNION", LISTS, gives_first, array_union),
    Definition::new("ARRAY_EXCEPT", LISTS, gives_first, array_except),
    Definition::new("ARRAY_INTERSECT", LISTS, gives_first, array_intersect),
    Definition::new("ARRAY_JOIN", Takes::Fixed(&[List, Text], &[Text]), gives_text, array_join),
    Definition::new("MAP_KEYS", Takes::Fixed(&[Map], &[]), gives_keys, map_keys),
    Definition::new("MAP_VALUES", Takes::Fixed(&[Map], &[]), gives_values, map_values),
    Definition::new("MAP_ENTRIES", Takes::Fixed(&[Map], &[]), gives_entries, map_entries),
    Definition::new(
        "MAP_FROM_ARRAYS",
        Takes::Fixed(&[List, List], &[]),
        gives_map_of_arrays,
        map_from_arrays,
    ),
    Definition::new("MAP_UNION", Takes::Custom(coerce_maps), gives_first, map_union),
];

/// The type of an array's elements.
fn element_of(list: &DataType) -> Result<&DataType> {
    match list {
        DataType::List(item) => Ok(item.data_type()),
        other => internal_err!("{other} is no array"),
    }
}

/// The key and the value of a map.
fn entry_of(map: &DataType) -> Result<&Fields> {
    match map {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Ok(fields),
            other => internal_err!("a map's entries are {other}"),
        },
        other => internal_err!("{other} is no map"),
    }
}

fn gives_element(shape: &Shape<'_>) -> Result<DataType> {
    Ok(element_of(&shape.types[0])?.clone())
}

fn gives_item(shape: &Shape<'_>) -> Result<DataType> {
    match &shape.types[0] {
        DataType::List(item) => Ok(item.data_type().clone()),
        map => Ok(entry_of(map)?[1].data_type().clone()),
    }
}

fn gives_keys(shape: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::new_list(entry_of(&shape.types[0])?[0].data_type().clone(), true))
}

fn gives_values(shape: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::new_list(entry_of(&shape.types[0])?[1].data_type().clone(), true))
}

fn gives_entries(shape: &Shape<'_>) -> Result<DataType> {
    let entry = entry_of(&shape.types[0])?;
    let row = DataType::Struct(
        vec![
            Field::new("key", entry[0].data_type().clone(), true),
            Field::new("value", entry[1].data_type().clone(), true),
        ]
        .into(),
    );
    Ok(DataType::new_list(row, true))
}

fn gives_map_of_arrays(shape: &Shape<'_>) -> Result<DataType> {
    let entry = DataType::Struct(
        vec![
            Field::new("keys", element_of(&shape.types[0])?.clone(), false),
            Field::new("values", element_of(&shape.types[1])?.clone(), true),
        ]
        .into(),
    );
    Ok(DataType::Map(Arc::new(Field::new("entries", entry, false)), false))
}

/// An array and an element, brought to one type.
fn coerce_element(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    let [list, element] = given else {
        return plan_err!("{name} takes 2 arguments (an array, an element), not {}", given.len());
    };
    let DataType::List(item) = list else {
        return plan_err!("{name}: argument 1 must be an array, not {}", sql_type_name(list));
    };
    match common_type(&[item.data_type().clone(), element.clone()]) {
        Some(common) if common == *item.data_type() => Ok(vec![list.clone(), common]),
        Some(common) => Ok(vec![DataType::new_list(common.clone(), true), common]),
        None => plan_err!(
            "{name}: argument 2 must be {}, as the array's elements are, not {}",
            sql_type_name(item.data_type()),
            sql_type_name(element)
        ),
    }
}

/// One or more arrays, brought to one type.
fn coerce_lists(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    if let Some(at) = given.iter().position(|list| !matches!(list, DataType::List(_))) {
        let got = sql_type_name(&given[at]);
        return plan_err!("{name}: argument {} must be an array, not {got}", at + 1);
    }
    match common_type(given) {
        Some(common) if !given.is_empty() => Ok(vec![common; given.len()]),
        _ => plan_err!("{name} takes arrays of one type"),
    }
}

/// One or more maps of one type.
fn coerce_maps(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [first @ DataType::Map(..), rest @ ..] if rest.iter().all(|map| map == first) => {
            Ok(given.to_vec())
        }
        _ => plan_err!("{name} takes maps of one type"),
    }
}

/// `array[integer]` or `map[key]`.
fn coerce_item(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [list @ DataType::List(_), index] if index.is_integer() || index.is_null() => {
            Ok(vec![list.clone(), DataType::Int32])
        }
        [map @ DataType::Map(..), _] => {
            Ok(vec![map.clone(), entry_of(map)?[0].data_type().clone()])
        }
        [value, index] => plan_err!(
            "{name}: {} has no element at a {}",
            sql_type_name(value),
            sql_type_name(index)
        ),
        _ => plan_err!("{name} takes 2 arguments (an array or map, a place), not {}", given.len()),
    }
}

/// Where the elements of a row stand; `None` if the row is NULL.
fn range(list: &ListArray, row: usize) -> Option<Range<usize>> {
    let offsets = list.value_offsets();
    list.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}

fn list(call: &Call<'_>, index: usize) -> Result<ListArray> {
    match call.column(index)?.as_list_opt::<i32>() {
        Some(list) => Ok(list.clone()),
        None => internal_err!("{}: argument {} is no array", call.name, index + 1),
    }
}

fn index(at: usize) -> u32 {
    debug_assert!(u32::try_from(at).is_ok(), "a batch has fewer than 2^32 elements");
    at as u32
}

/// The rows of a column in a form that compares.
fn comparable(values: &ArrayRef) -> Result<Rows> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    Ok(converter.convert_columns(std::slice::from_ref(values))?)
}

/// Makes arrays of chosen elements: `choose` pushes their indices into `values`, or gives `None`
/// for NULL.
fn chosen(
    call: &Call<'_>,
    values: &ArrayRef,
    mut choose: impl FnMut(usize, &mut Vec<u32>) -> Option<()>,
) -> Result<ArrayRef> {
    let DataType::List(field) = call.gives else {
        return internal_err!("{}: {} is no array", call.name, call.gives);
    };
    let (mut indices, mut lengths) = (Vec::with_capacity(values.len()), Vec::new());
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let before = indices.len();
        let is_valid = choose(row, &mut indices).is_some();
        if !is_valid {
            indices.truncate(before);
        }
        lengths.push(indices.len() - before);
        valid.push(is_valid);
    }
    let values = take(values, &UInt32Array::from(indices), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from(valid);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, Some(nulls))?))
}

/// Makes a column of one chosen element per row.
fn picked(
    call: &Call<'_>,
    values: &ArrayRef,
    pick: impl FnMut(usize) -> Option<usize>,
) -> Result<ArrayRef> {
    let indices: UInt32Array = (0..call.rows).map(pick).map(|at| at.map(index)).collect();
    Ok(take(values, &indices, None)?)
}

fn cardinality(call: &Call<'_>) -> Result<ArrayRef> {
    let column = call.column(0)?;
    let offsets = match column.data_type() {
        DataType::Map(..) => column.as_map().value_offsets(),
        _ => column.as_list::<i32>().value_offsets(),
    };
    Ok(call
        .collect::<Int32Type>(|row| column.is_valid(row).then(|| offsets[row + 1] - offsets[row])))
}

fn item(call: &Call<'_>) -> Result<ArrayRef> {
    let column = call.column(0)?;
    if let Some(map) = column.as_map_opt() {
        return map_item(call, map);
    }
    let (list, place) = (list(call, 0)?, call.numbers::<Int32Type>(1)?);
    picked(call, list.values(), |row| {
        let at = usize::try_from(place.get(row)?).ok()?.checked_sub(1)?;
        range(&list, row)?.nth(at)
    })
}

/// The value of the last entry with the key.
fn map_item(call: &Call<'_>, map: &MapArray) -> Result<ArrayRef> {
    let wanted = call.column(1)?;
    let rows = comparable(&concat(&[map.keys(), &wanted])?)?;
    let offsets = map.value_offsets();
    picked(call, map.values(), |row| {
        if map.is_null(row) || wanted.is_null(row) {
            return None;
        }
        let wanted = rows.row(map.keys().len() + row);
        (offsets[row] as usize..offsets[row + 1] as usize).rev().find(|at| rows.row(*at) == wanted)
    })
}

fn element(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let too_long = (0..call.rows).filter_map(|row| range(&list, row)).find(|range| range.len() > 1);
    if let Some(range) = too_long {
        return exec_err!("ELEMENT: the array has {} elements, not one", range.len());
    }
    picked(call, list.values(), |row| range(&list, row)?.next())
}

/// The elements of an array and another value for each row, made comparable: the index of the
/// first element that equals the row's value, row by row.
fn places<'a>(list: &'a ListArray, rows: &'a Rows) -> impl Fn(usize) -> Option<Option<usize>> + 'a {
    let elements = list.values().len();
    move |row| {
        let wanted = rows.row(elements + row);
        let mut range = range(list, row)?;
        let start = range.start;
        Some(range.find(|at| rows.row(*at) == wanted).map(|at| at - start))
    }
}

fn with_element(call: &Call<'_>) -> Result<(ListArray, ArrayRef, Rows)> {
    let list = list(call, 0)?;
    let all = concat(&[list.values(), &call.column(1)?])?;
    let rows = comparable(&all)?;
    Ok((list, all, rows))
}

fn array_contains(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, _, rows) = with_element(call)?;
    let place = places(&list, &rows);
    Ok(call.collect_booleans(|row| Some(place(row)?.is_some())))
}

/// Positions count from 1; 0 is nowhere.
fn array_position(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, _, rows) = with_element(call)?;
    let place = places(&list, &rows);
    Ok(call.collect::<Int32Type>(|row| Some(place(row)?.map_or(0, |at| at as i32 + 1))))
}

fn array_remove(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, all, rows) = with_element(call)?;
    let elements = list.values().len();
    chosen(call, &all, |row, out| {
        let unwanted = rows.row(elements + row);
        out.extend(range(&list, row)?.filter(|at| rows.row(*at) != unwanted).map(index));
        Some(())
    })
}

fn array_append(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let all = concat(&[list.values(), &call.column(1)?])?;
    let elements = list.values().len();
    chosen(call, &all, |row, out| {
        out.extend(range(&list, row)?.chain([elements + row]).map(index));
        Some(())
    })
}

fn array_prepend(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let all = concat(&[list.values(), &call.column(1)?])?;
    let elements = list.values().len();
    chosen(call, &all, |row, out| {
        let range = range(&list, row)?;
        out.extend([elements + row].into_iter().chain(range).map(index));
        Some(())
    })
}

/// Pushes those elements that `keep` keeps and that were not pushed before.
fn distinct<'r>(
    rows: &'r Rows,
    seen: &mut HashSet<Row<'r>>,
    range: Range<usize>,
    keep: impl Fn(Row<'r>) -> bool,
    out: &mut Vec<u32>,
) {
    out.extend(range.filter(|at| keep(rows.row(*at)) && seen.insert(rows.row(*at))).map(index));
}

fn array_distinct(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let rows = comparable(list.values())?;
    let mut seen = HashSet::new();
    chosen(call, list.values(), |row, out| {
        seen.clear();
        distinct(&rows, &mut seen, range(&list, row)?, |_| true, out);
        Some(())
    })
}

fn array_reverse(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    chosen(call, list.values(), |row, out| {
        out.extend(range(&list, row)?.rev().map(index));
        Some(())
    })
}

/// `ARRAY_SORT(array [, ascending [, nulls first]])`; NULLs go first when ascending, else last.
fn array_sort(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let rows = comparable(list.values())?;
    let ascending = if call.count() > 1 { Some(call.booleans(1)?) } else { None };
    let nulls_first = if call.count() > 2 { Some(call.booleans(2)?) } else { None };
    let mut sorted: Vec<usize> = Vec::new();
    chosen(call, list.values(), |row, out| {
        let ascending = ascending.map_or(Some(true), |ascending| ascending.get(row))?;
        let nulls_first = nulls_first.map_or(Some(ascending), |nulls| nulls.get(row))?;
        sorted.clear();
        sorted.extend(range(&list, row)?);
        sorted.sort_by(|a, b| {
            let nulls = list.values().is_null(*b).cmp(&list.values().is_null(*a));
            let nulls = if nulls_first { nulls } else { nulls.reverse() };
            let order = rows.row(*a).cmp(&rows.row(*b));
            nulls.then(if ascending { order } else { order.reverse() })
        });
        out.extend(sorted.iter().copied().map(index));
        Some(())
    })
}

/// Positions count from 1, negative ones from the end; both ends are included.
fn array_slice(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, start, end) = (list(call, 0)?, call.integers(1)?, call.integers_or(2, -1)?);
    chosen(call, list.values(), |row, out| {
        let (range, start, end) = (range(&list, row)?, start.get(row)?, end.get(row)?);
        let count = range.len() as i64;
        let place = |at: i64| if at < 0 { count + at + 1 } else { at };
        let (from, to) = (place(start).max(1), place(end).min(count));
        if from <= to {
            let from = range.start + from as usize - 1;
            out.extend((from..range.start + to as usize).map(index));
        }
        Some(())
    })
}

fn array_max(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let rows = comparable(list.values())?;
    picked(call, list.values(), |row| {
        let elements = range(&list, row)?.filter(|at| list.values().is_valid(*at));
        elements.max_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
    })
}

fn array_min(call: &Call<'_>) -> Result<ArrayRef> {
    let list = list(call, 0)?;
    let rows = comparable(list.values())?;
    picked(call, list.values(), |row| {
        let elements = range(&list, row)?.filter(|at| list.values().is_valid(*at));
        elements.min_by(|a, b| rows.row(*a).cmp(&rows.row(*b)))
    })
}

/// Several arrays and all their elements, with the place at which each array's begin.
fn several(call: &Call<'_>) -> Result<(Vec<(usize, ListArray)>, ArrayRef)> {
    let mut lists = Vec::with_capacity(call.count());
    let mut base = 0;
    for at in 0..call.count() {
        let list = list(call, at)?;
        let count = list.values().len();
        lists.push((base, list));
        base += count;
    }
    let values: Vec<&dyn Array> = lists.iter().map(|(_, list)| list.values().as_ref()).collect();
    let all = concat(&values)?;
    Ok((lists, all))
}

fn moved((base, list): &(usize, ListArray), row: usize) -> Option<Range<usize>> {
    let range = range(list, row)?;
    Some(range.start + base..range.end + base)
}

fn array_concat(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, all) = several(call)?;
    chosen(call, &all, |row, out| {
        for list in &lists {
            out.extend(moved(list, row)?.map(index));
        }
        Some(())
    })
}

fn array_union(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, all) = several(call)?;
    let rows = comparable(&all)?;
    let mut seen = HashSet::new();
    chosen(call, &all, |row, out| {
        seen.clear();
        for list in &lists {
            distinct(&rows, &mut seen, moved(list, row)?, |_| true, out);
        }
        Some(())
    })
}

fn array_except(call: &Call<'_>) -> Result<ArrayRef> {
    by_membership(call, |is_in_all_others| !is_in_all_others)
}

fn array_intersect(call: &Call<'_>) -> Result<ArrayRef> {
    by_membership(call, |is_in_all_others| is_in_all_others)
}

/// The distinct elements of the first array, as far as `keep` keeps them for being in the second.
fn by_membership(call: &Call<'_>, keep: fn(bool) -> bool) -> Result<ArrayRef> {
    let (lists, all) = several(call)?;
    let [first, second] = lists.as_slice() else {
        return exec_err!("{} takes 2 arguments (an array, an array)", call.name);
    };
    let rows = comparable(&all)?;
    let (mut seen, mut members) = (HashSet::new(), HashSet::new());
    chosen(call, &all, |row, out| {
        seen.clear();
        members.clear();
        members.extend(moved(second, row)?.map(|at| rows.row(at)));
        let keep = |element| keep(members.contains(&element));
        distinct(&rows, &mut seen, moved(first, row)?, keep, out);
        Some(())
    })
}

/// NULLs are skipped, or stand as the third argument says.
fn array_join(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, separator) = (list(call, 0)?, call.text(1)?);
    let for_null = if call.count() > 2 { Some(call.text(2)?) } else { None };
    let Some(texts) = list.values().as_string_opt::<i32>().cloned() else {
        let got = sql_type_name(list.values().data_type());
        return exec_err!("ARRAY_JOIN joins strings, not {got}; CAST the array to ARRAY<STRING>");
    };
    Ok(call.texts(|row, out| {
        let (range, separator) = (range(&list, row)?, separator.get(row)?);
        let for_null = match for_null {
            Some(for_null) => Some(for_null.get(row)?),
            None => None,
        };
        let mut between = "";
        for at in range {
            let element = if texts.is_valid(at) { Some(texts.value(at)) } else { for_null };
            if let Some(element) = element {
                out.push_str(between);
                out.push_str(element);
                between = separator;
            }
        }
        Some(())
    }))
}

/// A column of a map's entries as arrays.
fn of_map(call: &Call<'_>, column: impl Fn(&MapArray) -> ArrayRef) -> Result<ArrayRef> {
    let map = call.column(0)?;
    let Some(map) = map.as_map_opt() else {
        return internal_err!("{}: argument 1 is no map", call.name);
    };
    let DataType::List(field) = call.gives else {
        return internal_err!("{}: {} is no array", call.name, call.gives);
    };
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, column(map), nulls)?))
}

fn map_keys(call: &Call<'_>) -> Result<ArrayRef> {
    of_map(call, |map| Arc::clone(map.keys()))
}

fn map_values(call: &Call<'_>) -> Result<ArrayRef> {
    of_map(call, |map| Arc::clone(map.values()))
}

fn map_entries(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = element_of(call.gives)? else {
        return internal_err!("MAP_ENTRIES gives {}", call.gives);
    };
    of_map(call, |map| {
        let columns = map.entries().columns().to_vec();
        Arc::new(StructArray::new(fields.clone(), columns, None))
    })
}

fn map_from_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let (keys, values) = (list(call, 0)?, list(call, 1)?);
    let DataType::Map(field, _) = call.gives else {
        return internal_err!("MAP_FROM_ARRAYS gives {}", call.gives);
    };
    let (mut key_places, mut value_places) = (Vec::<u32>::new(), Vec::<u32>::new());
    let (mut lengths, mut valid) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        let both = range(&keys, row).zip(range(&values, row));
        valid.push(both.is_some());
        let (keys, values) = both.unwrap_or((0..0, 0..0));
        if keys.len() != values.len() {
            return exec_err!("MAP_FROM_ARRAYS: {} keys but {} values", keys.len(), values.len());
        }
        lengths.push(keys.len());
        key_places.extend(keys.map(index));
        value_places.extend(values.map(index));
    }
    let keys = take(keys.values(), &UInt32Array::from(key_places), None)?;
    if keys.logical_null_count() > 0 {
        return exec_err!("MAP_FROM_ARRAYS: a key is NULL");
    }
    let values = take(values.values(), &UInt32Array::from(value_places), None)?;
    let entries = StructArray::try_new(entry_of(call.gives)?.clone(), vec![keys, values], None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = Some(NullBuffer::from(valid));
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, false)?))
}

/// Of two entries for a key the later map's counts, in the place of the first.
fn map_union(call: &Call<'_>) -> Result<ArrayRef> {
    let columns = (0..call.count()).map(|at| call.column(at)).collect::<Result<Vec<_>>>()?;
    let maps: Vec<&MapArray> = columns.iter().filter_map(|column| column.as_map_opt()).collect();
    // Column by column, for maps of one type may call them differently.
    let all_keys: Vec<&dyn Array> = maps.iter().map(|map| map.keys().as_ref()).collect();
    let all_values: Vec<&dyn Array> = maps.iter().map(|map| map.values().as_ref()).collect();
    let DataType::Map(field, _) = call.gives else {
        return internal_err!("MAP_UNION gives {}", call.gives);
    };
    let (all_keys, all_values) = (concat(&all_keys)?, concat(&all_values)?);
    let keys = comparable(&all_keys)?;
    let (mut places, mut lengths, mut valid) = (Vec::<u32>::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let start = places.len();
        let is_valid = maps.iter().all(|map| map.is_valid(row));
        let mut base = 0;
        for map in maps.iter().filter(|_| is_valid) {
            let offsets = map.value_offsets();
            for at in base + offsets[row] as usize..base + offsets[row + 1] as usize {
                let same = |place: &&mut u32| keys.row(**place as usize) == keys.row(at);
                match places[start..].iter_mut().find(same) {
                    Some(place) => *place = index(at),
                    None => places.push(index(at)),
                }
            }
            base += map.entries().len();
        }
        lengths.push(places.len() - start);
        valid.push(is_valid);
    }
    let places = UInt32Array::from(places);
    let columns = vec![take(&all_keys, &places, None)?, take(&all_values, &places, None)?];
    let entries = StructArray::try_new(entry_of(call.gives)?.clone(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = Some(NullBuffer::from(valid));
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, false)?))
}
