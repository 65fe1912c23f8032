// A project's places as a list to choose from: each below the one that it lies in.

/** [id, name] of each area in the order of the tree, indented by how deep it lies. */
export function areaOptions(areas) {
  const below = new Map();
  for (const area of areas) {
    const key = area.parent || "";
    below.set(key, [...(below.get(key) || []), area]);
  }
  const found = [];
  const walk = (parent, depth) => {
    for (const area of below.get(parent) || []) {
      found.push([area.id, "\u3000".repeat(depth) + area.name]);
      walk(area.id, depth + 1);
    }
  };
  walk("", 0);
  return found;
}
