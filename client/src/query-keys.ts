/** What a query key says about resources, rows and projects. Where it is not sure, the answer is the wider one. */

import type { QueryKeyLike } from "./query-types.js";

const IRREGULAR: { readonly [singular: string]: string } = {
  child: "children",
  man: "men",
  person: "people",
  woman: "women",
};

/** Words that may be singular and plural: behind them an id may be one of something else. */
const SAME_IN_BOTH = /(?:[^aius]s|data|media|staff|equipment|feedback|fish|sheep)$/;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const INTEGER = /^-?\d+$/;
const PROJECT_WORD = /^projects?$/;
const PROJECT_PROPERTY = /^projects?(?:ids?)?$/;

/** How a resource may be called in a query key. */
export interface Names {
  readonly singular: string;
  /** With the singular. */
  readonly all: ReadonlySet<string>;
}

/** `order_items`, `orderItems` and `order-items` are one word. */
function word(text: string): string {
  return text.replace(/[_\-\s]/g, "").toLowerCase();
}

/** All that English makes of a singular (and of a plural label); a form that is no word is in no key. */
function otherForms(singular: string): string[] {
  const forms = [`${singular}s`, `${singular}es`];
  if (singular.endsWith("s")) forms.push(singular.slice(0, -1));
  if (singular.endsWith("es")) forms.push(singular.slice(0, -2));
  if (singular.endsWith("ies")) forms.push(`${singular.slice(0, -3)}y`);
  if (singular.endsWith("y")) forms.push(`${singular.slice(0, -1)}ies`);
  if (singular.endsWith("is")) forms.push(`${singular.slice(0, -2)}es`);
  if (singular.endsWith("f")) forms.push(`${singular.slice(0, -1)}ves`);
  if (singular.endsWith("fe")) forms.push(`${singular.slice(0, -2)}ves`);
  for (const [one, many] of Object.entries(IRREGULAR)) {
    if (singular.endsWith(one)) forms.push(singular.slice(0, -one.length) + many);
  }
  return forms;
}

/** The names of a resource: itself, its plurals and those that the user gives it. */
export function namesOf(resource: string, more: string | readonly string[] = []): Names {
  const singular = word(resource);
  const given = (typeof more === "string" ? [more] : more).map(word);
  return { singular, all: new Set([singular, ...otherForms(singular), ...given]) };
}

function isScalar(part: unknown): part is string | number | bigint {
  return typeof part === "string" || typeof part === "number" || typeof part === "bigint";
}

/** A text with slashes is an address: `/projects/7/tasks?done=true`. */
function segments(part: unknown): unknown[] {
  return typeof part === "string" && part.includes("/") ? part.split(/[/?&=]/).filter((text) => text !== "") : [part];
}

function isObject(part: unknown): part is { readonly [property: string]: unknown } {
  return typeof part === "object" && part !== null && !Array.isArray(part);
}

/** Keys are read once and asked about often. */
function remember<T>(read: (key: QueryKeyLike) => T): (key: QueryKeyLike) => T {
  const known = new WeakMap<QueryKeyLike, T>();
  return (key) => {
    let answer = known.get(key);
    if (answer === undefined) {
      answer = read(key);
      known.set(key, answer);
    }
    return answer;
  };
}

/** All texts of a key, at any depth, as words. */
const wordsOf = remember((key): ReadonlySet<string> => new Set(key.flatMap(wordsIn)));

function wordsIn(part: unknown): string[] {
  if (Array.isArray(part)) return part.flatMap(wordsIn);
  if (isObject(part)) return Object.values(part).flatMap(wordsIn);
  return segments(part).flatMap((text) => (typeof text === "string" ? [text, ...text.split(/[.:;,#]/)].map(word) : []));
}

/** Whether any text of the key, at any depth, is one of the names. */
export function namesResource(key: QueryKeyLike, names: Names): boolean {
  const words = wordsOf(key);
  return [...names.all].some((name) => words.has(name));
}

/** Ids are compared as texts: 1 and "1" are one, and so are uuids in capitals. */
export function idText(id: string | number | bigint): string {
  const text = String(id);
  return UUID.test(text) ? text.toLowerCase() : text;
}

/** Whether `id` is surely none of `ids`: a slug says nothing about a number. */
function surelyOther(id: string | number | bigint, ids: readonly string[]): boolean {
  const text = idText(id);
  return ids.every((one) => {
    const other = idText(one);
    if (INTEGER.test(text) && INTEGER.test(other)) return BigInt(text) !== BigInt(other);
    return UUID.test(text) && UUID.test(other) && text !== other;
  });
}

/** Whether the key is surely that of a row that is none of `ids`: `["tasks", "detail", 5]` or `["task", 5]`. */
export function namesOtherRow(key: QueryKeyLike, names: Names, ids: readonly string[], projectId: string): boolean {
  const place = key.findIndex((part) => typeof part === "string" && names.all.has(word(part)));
  if (place < 0) return false;
  const [name, next, last] = key.slice(place);
  const length = key.length - place;
  if (length === 3 && typeof next === "string" && /^details?$/.test(word(next)) && isScalar(last)) {
    return surelyOther(last, ids);
  }
  if (length !== 2 || !isScalar(next) || typeof name !== "string") return false;
  if (word(name) !== names.singular || SAME_IN_BOTH.test(names.singular)) return false;
  return idText(next) !== idText(projectId) && surelyOther(next, ids);
}

/**
 * The ids of projects that the key surely names, where they are ones: behind the word `project` or `projects`, in a
 * property like `projectId`, as a text behind `list`, and every uuid. A number behind `list` may be that of a page.
 */
export const projectIds = remember(projectIdsIn);

function projectIdsIn(key: QueryKeyLike): ReadonlySet<string> {
  const found = new Set<string>();
  const parts = key.flatMap(segments);
  parts.forEach((part, place) => {
    const before = parts[place - 1];
    const behind = typeof before === "string" ? word(before) : "";
    if (Array.isArray(part)) addAll(found, projectIdsIn(part));
    else if (isObject(part)) addAll(found, projectIdsOf(part));
    else if (isScalar(part)) {
      const listed = typeof part === "string" && /^lists?$/.test(behind);
      if (PROJECT_WORD.test(behind) || listed || UUID.test(String(part))) found.add(idText(part));
    }
  });
  return found;
}

function projectIdsOf(part: { readonly [property: string]: unknown }): Set<string> {
  const found = new Set<string>();
  for (const [property, value] of Object.entries(part)) {
    const named = PROJECT_PROPERTY.test(word(property));
    if (named) addAll(found, (Array.isArray(value) ? value : [value]).filter(isScalar).map(idText));
    addAll(found, projectIdsIn([value]));
  }
  return found;
}

function addAll(into: Set<string>, ids: Iterable<string>): void {
  for (const id of ids) into.add(id);
}

/** The id of `["tasks", "8"]`: of a project or of a task. */
export function loneId(key: QueryKeyLike, names: Names, ids: readonly string[] | null): string | undefined {
  const [name, id] = key;
  if (ids === null || key.length !== 2 || typeof name !== "string" || typeof id !== "string") return undefined;
  return names.all.has(word(name)) && surelyOther(id, ids) ? idText(id) : undefined;
}

/**
 * Whether a key begins with `prefix`, as TanStack Query has it (of an object, what the prefix names), but with ids
 * compared as texts: `ids` of events are texts, those in keys are often numbers.
 */
export function beginsWith(key: unknown, prefix: unknown): boolean {
  if (isScalar(key) && isScalar(prefix)) return idText(key) === idText(prefix);
  if (Array.isArray(key) && Array.isArray(prefix)) {
    return prefix.every((part, place) => beginsWith(key[place], part));
  }
  if (isObject(key) && isObject(prefix)) {
    return Object.keys(prefix).every((property) => beginsWith(key[property], prefix[property]));
  }
  return key === prefix;
}
