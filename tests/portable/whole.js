// The parts as one library: of a library that is included, this engine keeps results for each way on which it is read,
// and so evaluates what all parts read again and again.
export function whole(libraries) {
  const joined = structuredClone(libraries.at(-1));
  const definitions = new Map();
  for (const { library } of libraries) for (const each of library.statements.def) definitions.set(each.name, each);
  delete joined.library.includes;
  joined.library.statements.def = [...definitions.values()];
  return JSON.parse(JSON.stringify(joined), (key, value) => (key === "libraryName" ? undefined : value));
}
