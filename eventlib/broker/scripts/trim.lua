-- Drop entries that the stream's retention no longer keeps: a bounded step, one trimmer at a time. Limit 0: only look.
-- KEYS  stream, retention
-- ARGV  policy (see below), whether it was declared (1 or 0), ms between trims, how many entries at most, 1 if a
--       program listens without a group or 0
-- A policy is four numbers in one text: ms of history, entries, 1 to keep unread entries, ms until a group is dead; -1
-- means no limit. The last declared policy is kept with the stream, and programs that declare none follow it. A stream
-- that has no group keeps all for the first one, but not if a program listens to it: there may never be a group.
-- Returns nothing if it is not due yet. Else: whether there is more, how many entries were dropped, how many are left,
-- the policy used, and for each group {name, 1 if it exists, 1 if it is dead, ms it was absent, age in ms of the oldest
-- entry it is not done with (-1: none), how many entries it was not done with were dropped now, and ever}.
local LAST = '18446744073709551615'
local function sortable(id) -- ids are pairs of 64-bit numbers, more than Lua's numbers hold
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end
local function before(a, b) return sortable(a) < sortable(b) end
local function earlier(a, b) return before(b, a) and b or a end
local function after(id) -- the next id, or the same id if it is too high for Lua's numbers
  local ms, seq = id:match('^(%d+)-(%d+)$')
  if seq == LAST then
    return #ms < 16 and string.format('%.0f-0', ms + 1) or id
  end
  return #seq < 16 and string.format('%s-%.0f', ms, seq + 1) or id
end
local function map(flat)
  local made = {}
  for i = 1, #flat, 2 do made[flat[i]] = flat[i + 1] end
  return made
end

local every, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local state = map(redis.call('HGETALL', KEYS[2]))
local due = tonumber(state.due or '0')
if limit > 0 and now < due and due <= now + 2 * every then -- if due later than that, the server's clock was put back
  return {}
end
local policy = state.policy or ARGV[1]
local keep, entries, unread, dead_after = policy:match('^(%S+) (%S+) (%S+) (%S+)$')
keep, entries, dead_after = tonumber(keep), tonumber(entries), tonumber(dead_after)

-- How each group stands. Absence only counts while some program trims: a group is not absent while everything is shut
-- down. It also only counts while the group has something to do: before 7.2, a server does not record that a consumer
-- asked and got nothing.
local gap = math.max(0, now - tonumber(state.ran or now))
local looked = math.min(gap, 2 * every)
local groups, there = {}, {}
local function judge(group, active)
  group.absent = active and 0 or tonumber(state['absent:' .. group.name] or '0') + looked
  group.dead = dead_after >= 0 and group.absent > dead_after
  group.lost = 0
  groups[#groups + 1] = group
end
local function first_id()
  local entry = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  return entry and entry[1]
end
local function oldest_pending(name) -- of those that exist: deleted entries stay pending, in some groups for ever
  local first = first_id()
  local page = first and redis.call('XPENDING', KEYS[1], name, first, '+', 100) or {}
  for _, pending in ipairs(page) do
    if redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1] then return pending[1] end
  end
  return #page == 100 and page[100][1] or nil
end
for _, flat in ipairs(redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}) do
  local info = map(flat)
  local group = {name = info.name, exists = 1, unread = after(info['last-delivered-id'])}
  local oldest = oldest_pending(info.name)
  group.floor = oldest and earlier(oldest, group.unread) or group.unread
  group.mark = info['last-delivered-id'] .. '/' .. info.pending
  local active = state['mark:' .. info.name] ~= group.mark or info.consumers > 10000 -- too many to ask each time
  local todo = redis.call('XRANGE', KEYS[1], group.floor, '+', 'COUNT', 1)[1]
  group.oldest = todo and todo[1]
  active = active or not todo or state['paused:' .. info.name] ~= nil -- an operator lets it rest
  if not active then
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], info.name)) do
      active = active or map(consumer).idle <= gap + every
    end
  end
  there[info.name] = true
  judge(group, active)
end
for field, floor in pairs(state) do -- groups that existed before: destroyed or lost, they may come back to their place
  local name = field:match('^floor:(.*)$')
  if name and not there[name] then
    judge({name = name, exists = 0, unread = floor, floor = floor, mark = ''}, false)
  end
end
local cap -- entries at or above this id must stay
if unread == '1' then
  if #groups == 0 and ARGV[5] == '0' then cap = '0-0' end -- no group has read anything
  for _, group in ipairs(groups) do
    if not group.dead then cap = cap and earlier(cap, group.floor) or group.floor end
  end
end

-- Trim from one group's boundary to the next, to count what each group has lost.
local function drop(goal, most) -- whole nodes first, then exactly the rest that was asked for
  local dropped = redis.call('XTRIM', KEYS[1], 'MINID', '~', goal, 'LIMIT', most)
  local left = math.min(most - dropped, 100)
  if left > 0 and before('0-0', goal) then
    local page = redis.call('XRANGE', KEYS[1], '-', '(' .. goal, 'COUNT', left + 1)
    if #page > 0 then
      dropped = dropped + redis.call('XTRIM', KEYS[1], 'MINID', '=', page[left + 1] and page[left + 1][1] or goal)
    end
  end
  return dropped
end
local exposed = {} -- groups that may lose unread entries, sorted by their first unread id
for _, group in ipairs(groups) do
  if group.exists == 1 and (group.dead or unread ~= '1') then exposed[#exposed + 1] = group end
end
table.sort(exposed, function(a, b) return before(a.unread, b.unread) end)
local function drop_all(goal, most)
  local total, losing = 0, 0
  for stop = 1, #exposed + 1 do
    local bound = exposed[stop] and earlier(exposed[stop].unread, goal) or goal
    local dropped
    repeat
      dropped = most > total and drop(bound, most - total) or 0
      total = total + dropped
      for i = 1, losing do exposed[i].lost = exposed[i].lost + dropped end
    until dropped == 0
    losing = stop
  end
  return total
end
local function held_below(group, goal) -- delivered to the group, not acknowledged, and still there
  local ids, from = {}, first_id()
  for _ = 1, from and 10 or 0 do
    local page = redis.call('XPENDING', KEYS[1], group.name, from, '(' .. goal, 1000)
    for _, pending in ipairs(page) do
      local id = pending[1]
      if before(id, group.unread) and redis.call('XRANGE', KEYS[1], id, id)[1] then ids[#ids + 1] = id end
    end
    if #page < 1000 or #ids >= limit then break end
    from = '(' .. page[#page][1]
  end
  return ids
end
local dropped = 0
local finish = cap or LAST .. '-' .. LAST
if limit > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(exposed) do group.held = held_below(group, finish) end
  if keep >= 0 then
    dropped = drop_all(earlier(string.format('%.0f-0', math.max(0, now - keep)), finish), limit)
  end
  local over = entries >= 0 and redis.call('XLEN', KEYS[1]) - entries or 0
  if over > 0 and dropped < limit then
    dropped = dropped + drop_all(finish, math.min(over, limit - dropped))
  end
  local first = first_id()
  for _, group in ipairs(exposed) do
    for _, id in ipairs(group.held) do
      if not first or before(id, first) then group.lost = group.lost + 1 end
    end
  end
end
local more = limit > 0 and dropped >= limit

if limit > 0 then
  if ARGV[2] == '1' and not state.policy then redis.call('HSET', KEYS[2], 'policy', policy) end
  local next_due = string.format('%.0f', more and now or now + every)
  redis.call('HSET', KEYS[2], 'ran', string.format('%.0f', now), 'due', next_due)
end
local report = {}
for _, group in ipairs(groups) do
  local name = group.name
  local ever = tonumber(state['dropped:' .. name] or '0') + group.lost
  if limit > 0 then
    if group.exists == 0 and group.dead then
      -- paused:NAME stays until it is resumed: a group that comes back rests still
      redis.call('HDEL', KEYS[2], 'absent:' .. name, 'floor:' .. name, 'mark:' .. name, 'dropped:' .. name)
    else
      redis.call('HSET', KEYS[2], 'absent:' .. name, string.format('%.0f', group.absent), 'floor:' .. name, group.floor,
        'mark:' .. name, group.mark, 'dropped:' .. name, string.format('%.0f', ever))
    end
  end
  local age = group.oldest and math.max(0, now - tonumber(group.oldest:match('^%d+'))) or -1
  report[#report + 1] = {name, group.exists, group.dead and 1 or 0, group.absent, age, group.lost, ever}
end
return {more and 1 or 0, dropped, redis.call('XLEN', KEYS[1]), policy, report}
