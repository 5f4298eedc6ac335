//! Tables of features that another program made: a row of numbers for each image, with its id and, where given, label and group.
//!
//! The form is known by its content: `.npy` (rows × dimensions), safetensors (one such tensor), or CSV with a line of column names, whose
//! first column is the id, whose columns `label` and `group` are what they say, and whose others are numbers. Lines count from 1, rows and
//! columns of arrays from 0, as their programs count them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors};

use super::arrays::read_rows;
use crate::diagnostic::{Context, Failure, count, nearest};

/// Rows as they stand in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureTable {
    /// None where the file names no rows.
    pub ids: Option<Vec<String>>,
    /// Rows × dimensions, all finite.
    pub values: Array2<f32>,
    /// One for each row, of a CSV with such a column; empty where a row has none.
    pub labels: Option<Vec<String>>,
    pub groups: Option<Vec<String>>,
}

impl FeatureTable {
    /// Reads a table; `tensor` chooses among those of a safetensors file with several.
    ///
    /// # Errors
    /// When the file cannot be read, has another shape, names a row twice, or holds a number that is not finite: with row and column.
    pub fn read(path: &Path, tensor: Option<&str>) -> Result<Self, Failure> {
        let what = || format!("failed to read `{}`", path.display());
        let mut first = Vec::new();
        File::open(path).doing(what)?.take(9).read_to_end(&mut first).doing(what)?;
        let is_npy = first.starts_with(b"\x93NUMPY");
        // A length of 8 bytes, then JSON.
        let is_safetensors = first.len() == 9 && first[8] == b'{' && first[5..8] == [0; 3];
        if let Some(tensor) = tensor.filter(|_| !is_safetensors) {
            let failure = Failure::new(format!("`tensor` names `{tensor}`, but `{}` is no safetensors file", path.display()));
            return Err(failure.help("leave `tensor` out"));
        }
        let table = match (is_npy, is_safetensors) {
            (true, _) => Self { ids: None, values: read_rows(path)?, labels: None, groups: None },
            (_, true) => safetensors(&std::fs::read(path).doing(what)?, tensor).map_err(|f| f.while_doing(what()))?,
            _ => text(File::open(path).doing(what)?).map_err(|f| f.while_doing(what()))?,
        };
        table.checked().map_err(|f| f.while_doing(format!("`{}`", path.display())))
    }

    fn checked(self) -> Result<Self, Failure> {
        let (rows, columns) = self.values.dim();
        if rows == 0 || columns == 0 {
            return Err(Failure::new(format!("the table has {} of {}, expected some", count(rows, "row"), count(columns, "number"))));
        }
        if let Some(ids) = &self.ids {
            if ids.len() != rows {
                return Err(Failure::new(format!("the table has {} for {}", count(ids.len(), "id"), count(rows, "row"))));
            }
            refuse_doubles(ids, "row", 0)?;
        }
        if let Some(((row, column), value)) = self.values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let id = self.ids.as_ref().map_or(String::new(), |ids| format!(" (`{}`)", ids[row]));
            return Err(Failure::new(format!("row {row}{id}, column {column} is {value}, expected a finite number")));
        }
        Ok(self)
    }
}

/// Refuses ids that are empty or come twice; places count from `from`.
pub fn refuse_doubles(ids: &[String], place: &str, from: usize) -> Result<(), Failure> {
    let mut seen = HashMap::with_capacity(ids.len());
    for (at, id) in ids.iter().enumerate() {
        if id.is_empty() {
            return Err(Failure::new(format!("the id of {place} {} is empty", at + from)));
        }
        if let Some(first) = seen.insert(id.as_str(), at) {
            return Err(Failure::new(format!("the id `{id}` comes twice, in {place}s {} and {}", first + from, at + from)));
        }
    }
    Ok(())
}

/// Reads a list of ids, one a line, in the order of the rows; a first line `id` is a heading.
///
/// # Errors
/// When it cannot be read, or a line is empty or comes twice.
pub fn read_ids(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).doing(|| format!("failed to read `{}`", path.display()))?;
    let mut lines: Vec<String> = text.trim_start_matches('\u{feff}').lines().map(|line| line.trim().to_string()).collect();
    let heading = usize::from(lines.first().is_some_and(|first| first == "id"));
    lines.drain(..heading);
    refuse_doubles(&lines, "line", 1 + heading).map_err(|f| f.while_doing(format!("`{}`", path.display())))?;
    Ok(lines)
}

fn safetensors(bytes: &[u8], wanted: Option<&str>) -> Result<FeatureTable, Failure> {
    let what = || "the head of the safetensors file is damaged";
    let (_, header) = SafeTensors::read_metadata(bytes).doing(what)?;
    let tensors = SafeTensors::deserialize(bytes).doing(what)?;
    let mut names: Vec<&str> = tensors.names();
    names.sort_unstable();
    let known = format!("found `{}`", names.join("`, `"));
    let name = match (wanted, &names[..]) {
        (Some(name), _) if names.contains(&name) => name,
        (Some(name), _) => {
            let failure = Failure::new(format!("no tensor `{name}`: {known}"));
            return Err(match nearest(name, names.iter().copied()) {
                Some(meant) => failure.help(format!("did you mean `{meant}`?")),
                None => failure,
            });
        }
        (None, [only]) => only,
        (None, several) => {
            return Err(
                Failure::new(format!("{}: {known}", count(several.len(), "tensor"))).help("name the one with the features: `tensor: ..`")
            );
        }
    };
    let view = tensors.tensor(name).doing(what)?;
    let &[rows, columns] = view.shape() else {
        return Err(Failure::new(format!("`{name}` has the shape {:?}: expected rows x dimensions", view.shape())));
    };
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        other => return Err(Failure::new(format!("`{name}` holds {other:?}: expected F32 or F64"))),
    };
    let values = Array2::from_shape_vec((rows, columns), values).doing(what)?;
    let ids = header.metadata().as_ref().and_then(|metadata| metadata.get("ids"));
    let ids = ids.map(|ids| serde_json::from_str(ids).doing(|| "the metadata entry `ids` is no JSON list of texts")).transpose()?;
    Ok(FeatureTable { ids, values, labels: None, groups: None })
}

fn text(file: File) -> Result<FeatureTable, Failure> {
    let mut reader = csv::Reader::from_reader(file);
    let columns = reader.headers().doing(|| "no line of column names")?.clone();
    if columns.len() < 2 || columns.iter().skip(1).all(|name| name.trim().parse::<f64>().is_ok()) {
        let first = columns.iter().take(4).collect::<Vec<_>>().join(",");
        return Err(Failure::new(format!(
            "the first line, `{first}..`, names no columns: expected `id`, `label` if there is one, and the numbers"
        )));
    }
    let place = |name: &str| columns.iter().position(|column| column.trim() == name).filter(|at| *at > 0);
    let (label_at, group_at) = (place("label"), place("group"));
    let numbers: Vec<usize> = (1..columns.len()).filter(|at| Some(*at) != label_at && Some(*at) != group_at).collect();
    let (mut ids, mut values, mut labels, mut groups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut lines = HashMap::new();
    for record in reader.into_records() {
        // A line with too few or too many cells is an error of the reader, which names it.
        let record = record.doing(|| "not a table of features: neither `.npy` nor safetensors, nor CSV")?;
        let line = record.position().map_or(0, csv::Position::line);
        let id = record[0].trim().to_string();
        if id.is_empty() {
            return Err(Failure::new(format!("line {line}: the id is empty")));
        }
        if let Some(first) = lines.insert(id.clone(), line) {
            return Err(Failure::new(format!("line {line}: the id `{id}` stands in line {first} already")));
        }
        for &at in &numbers {
            let cell = record[at].trim();
            let value = cell.parse::<f64>().ok().map(|value| value as f32).filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| {
                Failure::new(format!("line {line} (`{id}`), column `{}`: `{cell}`, expected a finite number", columns[at].trim()))
            })?);
        }
        labels.extend(label_at.map(|at| record[at].trim().to_string()));
        groups.extend(group_at.map(|at| record[at].trim().to_string()));
        ids.push(id);
    }
    let values = Array2::from_shape_vec((ids.len(), numbers.len()), values).doing(|| "not a table of features")?;
    Ok(FeatureTable { ids: Some(ids), values, labels: label_at.map(|_| labels), groups: group_at.map(|_| groups) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use safetensors::tensor::TensorView;

    fn file(bytes: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn read(bytes: impl AsRef<[u8]>, tensor: Option<&str>) -> Result<FeatureTable, String> {
        let file = file(bytes);
        let name = file.path().display().to_string();
        FeatureTable::read(file.path(), tensor).map_err(|failure| failure.message().replace(&name, "x"))
    }

    fn tensors(names: &[&str], ids: Option<&str>) -> Vec<u8> {
        let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let views = names.iter().map(|name| (*name, TensorView::new(Dtype::F32, vec![2, 2], &data).unwrap()));
        let metadata = ids.map(|ids| HashMap::from([("ids".to_string(), ids.to_string())]));
        safetensors::serialize(views, metadata).unwrap()
    }

    #[test]
    fn a_csv_gives_ids_labels_groups_and_numbers_wherever_its_columns_stand() {
        let table = read("id,x,label,y,group\nb,1,cat,2.5,p1\na,-3e-1,,4,\n", None).unwrap();
        assert_eq!(table.ids.unwrap(), ["b", "a"]);
        assert_eq!(table.values, array![[1.0, 2.5], [-0.3, 4.0]]);
        assert_eq!((table.labels.unwrap(), table.groups.unwrap()), (vec!["cat".into(), String::new()], vec!["p1".into(), String::new()]));
    }

    #[test]
    fn what_is_wrong_in_a_csv_is_said_with_line_and_column() {
        let said = |text: &str| read(text, None).unwrap_err().replace("failed to read `x`: ", "");
        assert_eq!(said("id,x,y\na,1,2\nb,1,nan\n"), "line 3 (`b`), column `y`: `nan`, expected a finite number");
        assert_eq!(said("id,x\na,1\nb,one\n"), "line 3 (`b`), column `x`: `one`, expected a finite number");
        assert_eq!(said("id,x\na,1e300\n"), "line 2 (`a`), column `x`: `1e300`, expected a finite number");
        assert_eq!(said("id,x\na,1\nb,2\na,3\n"), "line 4: the id `a` stands in line 2 already");
        assert!(said("id,x\na,1\nb,2,3\n").contains("line: 3"), "{}", said("id,x\na,1\nb,2,3\n"));
        assert!(said("a,1,2\nb,3,4\n").starts_with("the first line, `a,1,2..`, names no columns"));
        assert!(said("").starts_with("the first line"));
        assert_eq!(said("id,label\na,cat\n"), "`x`: the table has 1 row of 0 numbers, expected some");
        assert!(read(b"\xff\xfe\x00,\x01\n\xff,1\n", None).is_err());
    }

    #[test]
    fn a_tensor_is_found_by_name_and_brings_its_ids() {
        let table = read(tensors(&["embeddings"], Some(r#"["u", "v"]"#)), None).unwrap();
        assert_eq!((table.ids, table.values), (Some(vec!["u".into(), "v".into()]), array![[1.0, 2.0], [3.0, 4.0]]));
        assert_eq!(read(tensors(&["a", "b"], None), Some("b")).unwrap().ids, None);
        let said = |names: &[&str], tensor, ids| read(tensors(names, ids), tensor).unwrap_err().replace("failed to read `x`: ", "");
        assert_eq!(said(&["a", "b"], None, None), "2 tensors: found `a`, `b`");
        assert_eq!(said(&["a"], Some("c"), None), "no tensor `c`: found `a`");
        assert_eq!(said(&["a"], None, Some(r#"["u", "u"]"#)), "`x`: the id `u` comes twice, in rows 0 and 1");
        assert_eq!(said(&["a"], None, Some(r#"["u"]"#)), "`x`: the table has 1 id for 2 rows");
    }

    #[test]
    fn a_number_of_an_array_that_is_not_finite_is_said_with_row_and_column() {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }").bytes());
        bytes.extend([1.0f32, 2.0, f32::NAN, 4.0].into_iter().flat_map(f32::to_le_bytes));
        assert_eq!(read(&bytes, None).unwrap_err(), "`x`: row 1, column 0 is NaN, expected a finite number");
        assert_eq!(read(&bytes, Some("a")).unwrap_err(), "`tensor` names `a`, but `x` is no safetensors file");
    }

    #[test]
    fn a_list_of_ids_may_have_a_heading_and_names_nobody_twice() {
        assert_eq!(read_ids(file("id\r\na b\r\nc\r\n").path()).unwrap(), ["a b", "c"]);
        let said = |text: &str| read_ids(file(text).path()).unwrap_err().message().rsplit("`: ").next().unwrap().to_string();
        assert_eq!(said("a\n\nb\n"), "the id of line 2 is empty");
        assert_eq!(said("id\na\nb\na\n"), "the id `a` comes twice, in lines 2 and 4");
    }

    #[test]
    fn no_damaged_file_makes_it_panic() {
        let whole = tensors(&["a"], Some(r#"["u", "v"]"#));
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 0x31;
            let _ = read(&damaged, None);
            assert!(read(&whole[..i], None).is_err());
        }
    }
}
