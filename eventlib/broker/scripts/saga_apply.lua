-- Store a move of a saga and all that follows from it, in one act: the saga's fields, its history, its place in the
-- lists of sagas, the message about its next act, the events that it emits; and settle the message that caused it.
-- Nothing is stored if the saga has changed since the move was decided, or if the message belongs to another worker.
-- KEYS  source (retry), retry, delayed, sweep, saga, saga_history, sagas (before), sagas (after), saga_notices,
--       sagas (of each status at an end)...
-- ARGV  group, consumer, id of the message ('' if there is none), 1 to settle the message or 0 to leave it pending,
--       token of this move, revision that it was decided on (0: the saga must not exist), id of the saga, ms that an
--       ended saga is kept ('' if it has not ended), ms until the saga times out and the message that says so ('' and
--       '' but for a start), 1 if those who wait for the saga are to be told or 0, how many fields and values, those,
--       how many lines of history, those, events...
-- Returns 1 if the move is stored, by this try or an earlier one; 0 if the message belongs to another worker; -1 if the
-- saga has changed, or, for a start, if there was a saga of this id less than STARTED_KEPT before.
local HISTORY = 200
local STARTED_KEPT = 60000 -- ms from a saga's end for which it is not started again at least: a start may be repeated
local NOTICES_KEPT = 60000 -- ms: those who wait also look now and then
local source, group, consumer, id, token = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5]
if id ~= '' then
  local owner = redis.call('XPENDING', source, group, id, id, 1)[1]
  if not owner then return 1 end -- an earlier try settled it
  if owner[2] ~= consumer then return 0 end
end
local revision, applied = unpack(redis.call('HMGET', KEYS[5], 'revision', 'applied'))
if applied == token then return 1 end
if (revision or '0') ~= ARGV[6] then return -1 end

local now = string.format('%.0f', math.floor(server_time()))
if not revision then
  for i = 10, #KEYS do
    if tonumber(redis.call('ZSCORE', KEYS[i], ARGV[7]) or '0') > tonumber(now) then return -1 end
  end
end
local fields, last = {}, 12 + ARGV[12]
for i = 13, last do fields[i - 12] = ARGV[i] end
redis.call('HSET', KEYS[5], 'revision', string.format('%.0f', (revision or 0) + 1), 'applied', token, 'updated', now,
           unpack(fields))
if not revision then redis.call('HSET', KEYS[5], 'created', now) end
local first = last + 2
last = first - 1 + ARGV[first - 1]
for i = first, last do redis.call('RPUSH', KEYS[6], now .. ' ' .. ARGV[i]) end
redis.call('LTRIM', KEYS[6], -HISTORY, -1)
for i = last + 1, #ARGV do redis.call('XADD', KEYS[2], '*', 'event', ARGV[i], 'attempts', '0') end

local function packed(message) return cmsgpack.pack({'event', message, 'attempts', '0'}) end
if ARGV[10] ~= '' then
  local group_now, _, unexpected = group_time(KEYS[4])
  redis.call('ZADD', KEYS[3], string.format('%.3f', group_now - unexpected + ARGV[9]), packed(ARGV[10]))
  redis.call('HSET', KEYS[5], 'alarm', ARGV[10], 'deadline', string.format('%.0f', now + ARGV[9]))
end
local keep = tonumber(ARGV[8])
if not revision or KEYS[7] ~= KEYS[8] then
  redis.call('ZREM', KEYS[7], ARGV[7])
  redis.call('ZADD', KEYS[8], string.format('%.0f', now + (keep and math.max(keep, STARTED_KEPT) or 0)), ARGV[7])
end
if keep then -- it goes by itself; its place in the list too, and with it what keeps it from being started again
  local alarm = redis.call('HGET', KEYS[5], 'alarm')
  if alarm then redis.call('ZREM', KEYS[3], packed(alarm)) end
  redis.call('PEXPIRE', KEYS[5], keep)
  redis.call('PEXPIRE', KEYS[6], keep)
  redis.call('PEXPIRE', KEYS[8], math.max(keep, STARTED_KEPT, redis.call('PTTL', KEYS[8])))
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[8], '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[8], gone)
  end
end
if ARGV[11] == '1' then
  redis.call('XADD', KEYS[9], 'MAXLEN', '~', 1000, '*', 'ids', ARGV[7])
  redis.call('PEXPIRE', KEYS[9], NOTICES_KEPT)
end
if id ~= '' and ARGV[4] == '1' then
  redis.call('XACK', source, group, id)
  redis.call('XDEL', source, id)
end
return 1
